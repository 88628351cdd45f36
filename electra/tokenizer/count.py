"""Count the chunks of a corpus exactly, with limited memory.

Each worker counts its part with a `ChunkCounter`; one process adds the counts with `ChunkTotals`.
"""

from __future__ import annotations

import contextlib
import heapq
import pickle
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO

import numpy as np

from electra.tokenizer.bpe import split_text
from electra.tokenizer.words import find_words

MAX_CHUNKS = 1 << 21  # distinct chunks kept in memory and used for learning, which takes about 1.5 GB
_MAX_HELD_CHUNKS = 1 << 19  # distinct chunks that a worker keeps, about 90 MB
_WRITTEN_TOGETHER = 1000  # chunks in one pickle


class ChunkCounter:
    """Counts the chunks of documents. Memory grows with the number of distinct chunks until `take` is called."""

    def __init__(self) -> None:
        self._chunks: Counter[str] = Counter()

    def add(self, texts: Sequence[str]) -> int:
        """Count the chunks of some documents; return the size of the documents in bytes."""
        words = find_words(texts)
        for word, count in zip(words.distinct, np.bincount(words.numbers).tolist(), strict=True):
            for chunk in split_text(word):
                self._chunks[chunk] += count
        return words.num_bytes

    def is_full(self) -> bool:
        """Return whether `take` should be called before the next `add`."""
        return len(self._chunks) > _MAX_HELD_CHUNKS

    def take(self) -> Counter[str]:
        """Return {chunk: number of occurrences since the last call of `take`}, and start again from zero."""
        chunks, self._chunks = self._chunks, Counter()
        return chunks


class ChunkTotals:
    """Adds up counts of chunks. Counts that do not fit into memory are written to temporary files in `folder`."""

    def __init__(self, folder: Path, max_chunks: int = MAX_CHUNKS) -> None:
        self._folder, self._max_chunks = folder, max_chunks
        self._counts: Counter[str] = Counter()
        self._num_all = 0
        self._files: list[IO[bytes]] = []

    def add(self, counts: Counter[str]) -> None:
        """Add {chunk: number of occurrences}. The order of the calls does not matter."""
        self._counts.update(counts)
        self._num_all += counts.total()
        if len(self._counts) > self._max_chunks:
            self._write()

    def take_most_frequent(self) -> tuple[Counter[str], int]:
        """Return the counts of the `max_chunks` most frequent chunks, and the total count of all other chunks.

        Among equally frequent chunks, the chunks with the highest CRC-32 are taken. This choice is close to random,
        but does not depend on the order in which counts were added.
        """
        if not self._files:
            return self._counts, 0
        self._write()
        parts = heapq.merge(*map(_read, self._files))
        totals = ((chunk, sum(count for _, count in part)) for chunk, part in groupby(parts, itemgetter(0)))
        kept = Counter(dict(heapq.nlargest(self._max_chunks, totals, key=_rank)))
        for file in self._files:
            file.close()
        return kept, self._num_all - kept.total()

    def _write(self) -> None:
        in_order = sorted(self._counts.items())
        self._counts = Counter()
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed in take_most_frequent)
        self._files.append(file)
        for first in range(0, len(in_order), _WRITTEN_TOGETHER):
            pickle.dump(in_order[first : first + _WRITTEN_TOGETHER], file)


def _rank(counted: tuple[str, int]) -> int:
    chunk, count = counted
    return count << 32 | zlib.crc32(chunk.encode())


def _read(file: IO[bytes]) -> Iterator[tuple[str, int]]:
    file.seek(0)
    with contextlib.suppress(EOFError):
        while True:
            yield from pickle.load(file)
