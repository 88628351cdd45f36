"""Learn byte-pair merges from counted chunks. A few arrays hold all chunks; each step makes one merge.

Source: Sennrich et al. 2016; the order of merges, also between equally frequent pairs, is that of `tokenizers`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from electra.ids import ID_BITS, ID_DTYPE, MAX_VOCAB_SIZE, Ids
from electra.tokenizer.bpe import BYTE_TO_ID, FIRST_MERGE_ID, Merge

MIN_COUNT = 2  # a pair that occurs only once gets no id
MAX_CHUNK_BYTES = 1024  # longer chunks (base64, lines of dashes) cost memory, so they are left out


class Learned(NamedTuple):
    """The merges that `learn` found, and the ids of the chunks that it learned from."""

    merges: list[Merge]
    chunks: list[str]
    counts: npt.NDArray[np.int64]  # (chunks,)
    ids: Ids  # (tokens,) the ids of all chunks after the merges, one chunk after the other
    ends: npt.NDArray[np.int64]  # (chunks,) the index in `ids` at which each chunk ends
    num_left_out: int  # number of occurrences of chunks longer than MAX_CHUNK_BYTES


def learn(
    chunk_counts: Mapping[str, int],
    num_merges: int,
    *,
    min_count: int = MIN_COUNT,
    progress: Callable[[], object] = lambda: None,
) -> Learned:
    """Learn up to `num_merges` merges, each of the most frequent pair; on a tie, the smallest (left id, right id).

    Learning stops early if no pair occurs at least `min_count` times. The merges do not depend on the order of
    `chunk_counts`. Counts are 64-bit integers. `progress` is called after each merge.
    """
    chunks = [chunk for chunk in chunk_counts if len(chunk.encode()) <= MAX_CHUNK_BYTES]
    counts = np.fromiter(map(chunk_counts.__getitem__, chunks), np.int64, len(chunks))
    text = _Symbols(chunks, counts, max(min_count, 1))
    merges: list[Merge] = []
    while len(merges) < num_merges and (best := text.most_frequent_pair()) is not None:
        merges.append(best)
        text.merge(*best, FIRST_MERGE_ID + len(merges) - 1)
        progress()
    ids, ends = text.remaining()
    return Learned(merges, chunks, counts, ids, ends, num_left_out=sum(chunk_counts.values()) - int(counts.sum()))


class _Symbols:
    """All distinct chunks in one array of ids, as a doubly linked list, with the count and places of each pair.

    Zeros separate the chunks; no pair contains a zero. After a merge, the left place holds the new id, and the right
    place holds a zero outside the linked list. A pair is the number left << ID_BITS | right; of pairs that are equally
    frequent, the pair with the smallest number is merged first. A pair with a new id can appear only during the merge
    that makes this id, so a count is set once and never grows; a pair whose first count is below `min_count` is not
    stored. The queue and the places may contain entries that are no longer true; an entry is checked when used.
    """

    def __init__(self, chunks: Sequence[str], counts: npt.NDArray[np.int64], min_count: int) -> None:
        self._min_count = min_count
        encoded = [chunk.encode() for chunk in chunks]
        lengths = np.fromiter(map(len, encoded), np.int64, len(chunks))
        places = np.repeat(np.arange(1, len(chunks) + 1, dtype=np.int32), lengths)
        places += np.arange(len(places), dtype=np.int32)
        size = len(places) + len(chunks) + 1
        self._ids = np.zeros(size, ID_DTYPE)
        self._ids[places] = BYTE_TO_ID[np.frombuffer(b"".join(encoded), np.uint8)]
        self._weights = np.zeros(size, np.int64)
        self._weights[places] = np.repeat(counts, lengths)
        del encoded, places  # frees a third of the memory
        self._next = np.arange(1, size + 1, dtype=np.int32)
        self._previous = np.arange(-1, size - 1, dtype=np.int32)
        self._chunk_ends = np.cumsum(lengths + 1)  # the place of the zero after each chunk
        self._counts: dict[int, int] = {}
        self._places: dict[int, npt.NDArray[np.int32]] = {}
        self._queue: list[tuple[int, int]] = []
        left = np.flatnonzero((self._ids[:-1] != 0) & (self._ids[1:] != 0)).astype(np.int32)
        pairs = self._ids[left].astype(np.uint32) << ID_BITS | self._ids[left + 1]
        for pair, count, where in _group(pairs, self._weights[left], left):
            self._add(pair, count, where)

    def _add(self, pair: int, count: int, places: npt.NDArray[np.int32]) -> None:
        if count < self._min_count:
            return
        self._counts[pair] = count
        self._places[pair] = places
        heapq.heappush(self._queue, (-count, pair))

    def most_frequent_pair(self) -> Merge | None:
        """Return the pair to merge next; None if every pair occurs less often than `min_count`."""
        while self._queue:
            count, pair = -self._queue[0][0], self._queue[0][1]
            current = self._counts[pair]
            if current == count:
                return divmod(pair, MAX_VOCAB_SIZE) if count >= self._min_count else None
            heapq.heapreplace(self._queue, (-current, pair))
        return None

    def merge(self, left: int, right: int, new: int) -> None:
        """Replace each `left` followed by `right` with `new`, from left to right, and update all counts."""
        heapq.heappop(self._queue)
        pair = left << ID_BITS | right
        first, second = self._occurrences(pair, left, right)
        del self._counts[pair]
        ids, weights, after = self._ids, self._weights[first], self._next[second]
        ids[first], ids[second] = new, 0
        self._next[first], self._previous[after] = after, first
        before = self._previous[first]
        for neighbour, count, places in _group(ids[before], weights, before):
            if neighbour:
                old = right if neighbour == new else neighbour  # the neighbour was merged too; it ended in `right`
                self._subtract(old << ID_BITS | left, count)
                self._add(neighbour << ID_BITS | new, count, places)
        for neighbour, count, places in _group(ids[after], weights, first):
            if neighbour and neighbour != new:  # the loop above counts pairs of two new ids
                self._subtract(right << ID_BITS | neighbour, count)
                self._add(new << ID_BITS | neighbour, count, places)

    def _subtract(self, pair: int, count: int) -> None:
        if pair in self._counts:  # not there: the pair that is being merged, and rare pairs
            self._counts[pair] -= count

    def _occurrences(self, pair: int, left: int, right: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        first = self._places.pop(pair)
        first = first[self._ids[first] == left]
        first = first[self._ids[self._next[first]] == right]
        if left == right:
            first = self._every_other(first)
        return first, self._next[first]

    def _every_other(self, places: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return the places of the pairs to merge; of overlapping pairs ("aaa"), every second one from the left."""
        kept, taken = [], -1
        for place in np.sort(places).tolist():
            if place != taken:
                kept.append(place)
                taken = int(self._next[place])
        return np.array(kept, np.int32)

    def remaining(self) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Return the ids of all chunks one after the other, and the index at which each chunk ends."""
        alive = self._ids != 0
        return self._ids[alive], np.cumsum(alive, dtype=np.int64)[self._chunk_ends]


def _group(
    keys: npt.NDArray[Any], weights: npt.NDArray[np.int64], places: npt.NDArray[np.int32]
) -> Iterator[tuple[int, int, npt.NDArray[np.int32]]]:
    """Yield each distinct key, the sum of its weights, and the array of its places."""
    if not len(keys):
        return
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], places[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    sums = np.add.reduceat(weights[order], starts)
    bounds = [*starts.tolist(), len(keys)]
    for n, (key, weight) in enumerate(zip(keys[starts].tolist(), sums.tolist(), strict=True)):
        yield key, weight, places[bounds[n] : bounds[n + 1]]
