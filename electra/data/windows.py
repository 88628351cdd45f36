"""Random windows: (shards, seed, step) -> a batch. Nothing is shuffled, nothing is remembered.

"documents" (the report): each epoch visits every document once, in an order of its own, and takes one window of
it. "tokens": a document is drawn in proportion to its length, so that windows are spread evenly over the tokens.
Either way the window's start is uniform over *all* starts at which it fits (0 ... n - (L - 2)), and a document
that is shorter than the window is taken whole and padded. A window never leaves its document.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from electra.data.shards import Shards
from electra.ids import SpecialIds
from electra.seeding import derive_seed, generator

SAMPLINGS = ("documents", "tokens")
_ROUNDS = 6

Numbers = npt.NDArray[np.uint64]


class WindowSampler:
    """Draws [CLS] text [SEP] rows; a pure function of (shards, seed, step), so any step costs the same."""

    def __init__(
        self,
        shards: Shards,
        *,
        special_ids: SpecialIds,
        batch_size: int,
        seq_length: int,
        seed: int,
        sampling: str = "documents",
    ) -> None:
        if seq_length < 3:
            raise ValueError(f"--seq-length: expected 3 or more ([CLS], a token, [SEP]), found {seq_length}; raise it")
        if batch_size < 1:
            raise ValueError(f"--batch-size: expected 1 or more, found {batch_size}; raise it")
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling: expected one of {', '.join(SAMPLINGS)}, found {sampling!r}; choose one")
        if not shards.num_documents:
            raise ValueError(f"{shards.folder}: expected documents, found none; prepare more text")
        self.shards = shards
        self.special_ids = special_ids
        self.batch_size, self.seq_length = batch_size, seq_length
        self.seed, self.sampling = seed, sampling

    def sample(self, step: int) -> npt.NDArray[np.int64]:
        """The rows of one update.

        Returns:
            int64 (B, L): [CLS], up to L - 2 tokens of one document, [SEP], then [PAD].
        """
        noise = generator(self.seed, "windows", step)
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
        return batch

    def documents(self, step: int) -> list[int]:
        """The document that each row of `sample(step)` is from."""
        return self._draw(step, generator(self.seed, "windows", step))

    def _draw(self, step: int, noise: np.random.Generator) -> list[int]:
        return (self._by_document if self.sampling == "documents" else self._by_token)(step, noise)

    def _by_document(self, step: int, noise: np.random.Generator) -> list[int]:
        size = self.shards.num_documents
        drawn = range(step * self.batch_size, (step + 1) * self.batch_size)
        documents: list[int] = []
        for epoch in range(drawn[0] // size, drawn[-1] // size + 1):
            first, last = max(drawn[0], epoch * size), min(drawn[-1], (epoch + 1) * size - 1)
            places = np.arange(first - epoch * size, last - epoch * size + 1, dtype=np.uint64)
            documents += permute(places, size, derive_seed(self.seed, "windows", epoch, "order")).tolist()
        return documents

    def _by_token(self, step: int, noise: np.random.Generator) -> list[int]:
        tokens = (noise.random(self.batch_size) * self.shards.num_tokens).astype(np.int64)
        return [self.shards.document_of_token(token) for token in tokens.tolist()]


def permute(numbers: Numbers, size: int, key: int) -> Numbers:
    """Where a keyed pseudo-random permutation of 0 ... size - 1 sends each number, without a table.

    A Feistel network over the next even power of two; a number that lands outside goes round again.
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    keys = np.random.Philox(key).random_raw(_ROUNDS)
    numbers = _feistel(numbers, keys, half)
    while len(outside := np.flatnonzero(numbers >= size)):
        numbers[outside] = _feistel(numbers[outside], keys, half)
    return numbers


def _feistel(numbers: Numbers, keys: Numbers, half: np.uint64) -> Numbers:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << half) | right


def _mix(numbers: Numbers) -> Numbers:
    """splitmix64's finaliser: every bit of the input moves every bit of the output."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
