"""Count the chunks of a corpus: exactly, whatever it is, in bounded memory.

Workers count, each its part (`ChunkCounter`); one process adds up what they found (`ChunkTotals`).
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import operator
import pickle
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from electra.tokenizer.bpe import split_words
from electra.tokenizer.words import MAX_WORD_BYTES, MAX_WORDS, WordTable, cut_words

MAX_CHUNKS = 1 << 21  # distinct ones that are added up in memory, and learned from: about 1.5 GB while learning
_HELD_CHUNKS = 1 << 19  # distinct ones that a worker keeps: about 90 MB
_HELD_LONG_BYTES = 1 << 25  # text without ASCII white space, as in Chinese, that a worker keeps
_WRITTEN_TOGETHER = 1000


class ChunkCounter:
    """Counts the chunks of documents, in memory that grows with the distinct ones until they are taken away."""

    def __init__(self, max_words: int = MAX_WORDS) -> None:
        self._table = WordTable(max_words)
        self._words: list[bytes] = []
        self._counts = np.zeros(0, np.int64)  # of each word of the table
        self._long_words: Counter[bytes] = Counter()
        self._long_bytes = 0  # of them, repetitions included
        self._chunks: Counter[str] = Counter()

    def add(self, texts: Sequence[str]) -> int:
        """Count some documents; returns how many bytes they have."""
        all_words = cut_words(texts)
        for words in all_words.batches():
            if self._table.is_full() or self._long_bytes > _HELD_LONG_BYTES:
                self._reduce()
            is_short = words.lengths <= MAX_WORD_BYTES
            long_words, short_words = words.select(~is_short), words.select(is_short)
            self._long_words.update(long_words.texts())
            self._long_bytes += int(long_words.lengths.sum())
            numbers, new = self._table.number(short_words)
            self._words += short_words.select(new).texts()
            counts = np.bincount(numbers, minlength=self._table.num_words)
            counts[: len(self._counts)] += self._counts
            self._counts = counts
        return int(all_words.lengths.sum())

    def is_full(self) -> bool:
        """Whether the counts should be taken away before the next documents."""
        return len(self._chunks) > _HELD_CHUNKS

    def take(self) -> Counter[str]:
        """How often each chunk occurs in the documents since the last call."""
        self._reduce()
        chunks, self._chunks = self._chunks, Counter()
        return chunks

    def _reduce(self) -> None:
        """Turn counts of words into counts of chunks: each distinct word is split once."""
        words = [*self._words, *self._long_words]
        counts = np.concatenate([self._counts, np.fromiter(self._long_words.values(), np.int64, len(self._long_words))])
        chunks, ends = split_words(words)
        for chunk, count in zip(chunks, np.repeat(counts, np.diff(ends, prepend=0)).tolist(), strict=True):
            self._chunks[chunk] += count
        self._table.clear()
        self._words, self._counts = [], np.zeros(0, np.int64)
        self._long_words.clear()
        self._long_bytes = 0


class ChunkTotals:
    """Adds up counts. What does not fit into memory waits, sorted, in files without a name.

    Args:
        folder: where these files are.
    """

    def __init__(self, folder: Path, max_chunks: int = MAX_CHUNKS) -> None:
        self._folder, self._max_chunks = folder, max_chunks
        self._counts: Counter[str] = Counter()
        self._num_all = 0
        self._files: list[IO[bytes]] = []

    def add(self, counts: Counter[str]) -> None:
        """Add some counts, in any order."""
        self._counts.update(counts)
        self._num_all += counts.total()
        if len(self._counts) > self._max_chunks:
            self._write()

    def take_most_frequent(self) -> tuple[Counter[str], int]:
        """The `max_chunks` most frequent chunks, and how many times all others occur.

        Of equally frequent ones those with the higher CRC-32 are taken: a fair sample, and always the same.
        """
        if not self._files:
            return self._counts, 0
        self._write()
        lowest = self._lowest_rank()
        kept = Counter({chunk: count for chunk, count in self._in_order() if _rank(chunk, count) >= lowest})
        for file in self._files:
            file.close()
        return kept, self._num_all - kept.total()

    def _lowest_rank(self) -> int:
        """That of the chunks to take: numbers alone, so that at no time more chunks than these are in memory."""
        ranks, size = itertools.starmap(_rank, self._in_order()), self._max_chunks
        best = np.fromiter(itertools.islice(ranks, size), np.int64)
        while len(more := np.fromiter(itertools.islice(ranks, size), np.int64)):
            best = np.partition(np.concatenate([best, more]), -size)[-size:]
        return int(best.min())

    def _in_order(self) -> Iterator[tuple[str, int]]:
        """Every chunk with its count, out of the files."""
        parts = heapq.merge(*map(_read, self._files))
        for chunk, group in itertools.groupby(parts, operator.itemgetter(0)):
            yield chunk, sum(count for _, count in group)

    def _write(self) -> None:
        in_order = sorted(self._counts.items())
        self._counts = Counter()
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed when all is read)
        self._files.append(file)
        for first in range(0, len(in_order), _WRITTEN_TOGETHER):
            pickle.dump(in_order[first : first + _WRITTEN_TOGETHER], file)


def _rank(chunk: str, count: int) -> int:
    return min(count, (1 << 31) - 1) << 32 | zlib.crc32(chunk.encode())


def _read(file: IO[bytes]) -> Iterator[tuple[str, int]]:
    file.seek(0)
    with contextlib.suppress(EOFError):
        while True:
            yield from pickle.load(file)
