"""Token ids: how wide they are, and which ones a model treats apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ID_BITS = 16  # what an id takes, in memory and on disk
ID_DTYPE = np.dtype(f"<u{ID_BITS // 8}")
MAX_VOCAB_SIZE = 1 << ID_BITS
Ids = npt.NDArray[np.uint16]  # in annotations


class SpecialIds(NamedTuple):
    """The ids a model treats apart; plain text never yields one of them."""

    pad: int
    cls: int
    sep: int
    mask: int
