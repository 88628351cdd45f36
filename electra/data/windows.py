"""Draw batches of random windows of text; a batch depends only on the shards, the seed and the step.

With sampling="documents" (Mercier's), each epoch takes one window from every document, in a new order.
Sampling "tokens": a document is drawn with probability proportional to its length, so long documents get more windows.
In both, all starts 0 ... n - (L - 2) in a document of n tokens are equally likely; L is the row's length. A
document shorter than the window is taken whole and padded. A window never crosses the end of its document.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from electra.data.shards import Shards
from electra.ids import SpecialIds
from electra.seeding import random_stream


class WindowSampler:
    """Draws rows of [CLS] text [SEP]. They depend only on (shards, seed, step): no step needs the steps before it.

    B is `batch_size`, L is `seq_length` (3 or more); `sampling` is "documents" or "tokens".
    """

    def __init__(
        self, shards: Shards, *, special_ids: SpecialIds, batch_size: int, seq_length: int, seed: int, sampling: str
    ) -> None:
        if not shards.num_documents:
            remedy = "prepare it again, with more text or another --min-held-out"
            raise ValueError(f"{shards.folder}: no documents in the split {shards.split!r}; {remedy}")
        self.shards = shards
        self.special_ids = special_ids
        self.batch_size, self.seq_length = batch_size, seq_length
        self.seed, self.sampling = seed, sampling
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)  # one batch can contain rows of two epochs

    def sample(self, step: int) -> npt.NDArray[np.int64]:
        """Return the rows of one update.

        Returns:
            int64 (B, L): [CLS], up to L - 2 tokens of one document, [SEP], then [PAD].
        """
        noise = random_stream(self.seed, "windows", step)
        documents = self._draw(step, noise)
        places = noise.random(self.batch_size)
        batch = np.full((self.batch_size, self.seq_length), self.special_ids.pad, np.int64)
        batch[:, 0] = self.special_ids.cls
        room = self.seq_length - 2
        for row, document, place in zip(batch, documents, places.tolist(), strict=True):
            tokens, start, end = self.shards.span(document)
            length = min(end - start, room)
            start += int(place * (end - start - length + 1))
            row[1 : 1 + length] = tokens[start : start + length]
            row[1 + length] = self.special_ids.sep
        self.shards.check_ids(batch)
        return batch

    def documents(self, step: int) -> list[int]:
        """Return, for each row of `sample(step)`, the index of its document."""
        return self._draw(step, random_stream(self.seed, "windows", step))

    def _draw(self, step: int, noise: np.random.Generator) -> list[int]:
        if self.sampling == "tokens":
            tokens = (noise.random(self.batch_size) * self.shards.num_tokens).astype(np.int64)
            return [self.shards.document_of_token(token) for token in tokens.tolist()]
        first = step * self.batch_size
        drawn = (divmod(place, self.shards.num_documents) for place in range(first, first + self.batch_size))
        return [int(self._order(epoch)[place]) for epoch, place in drawn]

    def _draw_order(self, epoch: int) -> npt.NDArray[np.uint32]:
        """Return the indices of all documents in the order of an epoch (for 8 million documents: 32 MB, 0.4 s)."""
        documents = np.arange(self.shards.num_documents, dtype=np.uint32)
        return random_stream(self.seed, "windows", epoch, "order").permutation(documents)
