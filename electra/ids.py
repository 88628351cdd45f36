"""Token ids: their dtype, their largest number, and the ids of the special tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ID_BITS = 16  # size of an id in memory and on disk
ID_DTYPE = np.dtype(f"<u{ID_BITS // 8}")
MAX_VOCAB_SIZE = 1 << ID_BITS
Ids = npt.NDArray[np.uint16]  # the type of an array of ids, for annotations


class SpecialIds(NamedTuple):
    """The ids of the special tokens; the encoding of plain text never has a special id."""

    pad: int
    cls: int
    sep: int
    mask: int
