"""Random windows: (shards, seed, step) -> a batch.

Sampling "documents" (Mercier's): each epoch visits every document once, in a new order, and takes one window of each.
Sampling "tokens": a document is drawn in proportion to its length, so that windows are spread evenly over the tokens.
In both the start of the window is uniform over *all* starts at which it fits (0 ... n - (L - 2)). A document that is
shorter than the window is taken whole and padded. A window never crosses the end of its document.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from electra.data.shards import Shards
from electra.ids import SpecialIds
from electra.seeding import random_stream


class WindowSampler:
    """Draws [CLS] text [SEP] rows: a pure function of (shards, seed, step), so any step takes the same time.

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
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)  # a batch may have rows of two epochs

    def sample(self, step: int) -> npt.NDArray[np.int64]:
        """Draw the rows of one update.

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
        """Return the number of the document of each row of `sample(step)`."""
        return self._draw(step, random_stream(self.seed, "windows", step))

    def _draw(self, step: int, noise: np.random.Generator) -> list[int]:
        if self.sampling == "tokens":
            tokens = (noise.random(self.batch_size) * self.shards.num_tokens).astype(np.int64)
            return [self.shards.document_of_token(token) for token in tokens.tolist()]
        first = step * self.batch_size
        drawn = (divmod(place, self.shards.num_documents) for place in range(first, first + self.batch_size))
        return [int(self._order(epoch)[place]) for epoch, place in drawn]

    def _draw_order(self, epoch: int) -> npt.NDArray[np.uint32]:
        """Return the documents of an epoch in the order of their visits: 4 bytes each; 0.4 s for 8 million."""
        documents = np.arange(self.shards.num_documents, dtype=np.uint32)
        return random_stream(self.seed, "windows", epoch, "order").permutation(documents)
