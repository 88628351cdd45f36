"""Learn a tokenizer from a corpus: workers count chunks (roughly words), this process learns and evaluates merges."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from electra.data import corpus
from electra.data.workers import run_tasks
from electra.tokenizer.byte_level import Tokenizer, count_merges, group_by_size, group_texts
from electra.tokenizer.count import ChunkCounter, ChunkTotals
from electra.tokenizer.train import Learned, learn

Reader = Callable[..., Iterator[str]]  # `corpus.read_unit` with its settings filled in


def cut_blocks(units: Iterable[corpus.Unit]) -> Iterator[list[corpus.Unit]]:
    """Group consecutive units into blocks of about `corpus.BLOCK_BYTES` of text. A block is one task of a worker."""
    return group_by_size(units, lambda unit: unit.size, corpus.BLOCK_BYTES)


def byte_bar(what: str, num_bytes: int | None = None) -> tqdm[Any]:
    """Return a progress bar that counts bytes of text. The bar is shown only in a terminal."""
    return tqdm(desc=what, total=num_bytes, unit="B", unit_scale=True, disable=None)


class _CountChunks:
    """A worker that counts chunks in the first documents of each unit, up to the fraction `share` of the unit's size.

    Yields for each group of documents: their number, their bytes, chunk counts (empty until `ChunkCounter` is full).
    """

    def __init__(self, read: Reader, share: float) -> None:
        self._read, self._share = read, share
        self._counter = ChunkCounter()

    def __call__(self, block: list[corpus.Unit] | None) -> Iterator[tuple[int, int, Counter[str]]]:
        if block is None:
            yield 0, 0, self._counter.take()
            return
        for texts in group_texts(text for unit in block for text in self._sample(unit)):
            num_bytes = self._counter.add(texts)
            yield len(texts), num_bytes, self._counter.take() if self._counter.is_full() else Counter()

    def _sample(self, unit: corpus.Unit) -> Iterator[str]:
        room = self._share * unit.size if self._share < 1 else float("inf")
        for text in self._read(unit, corpus.Tally()):
            if room <= 0:
                break
            room -= len(text.encode())
            yield text


def learn_tokenizer(
    units: Iterable[corpus.Unit],
    read: Reader,
    share: float,
    *,
    vocab_size: int,
    min_count: int,
    num_workers: int,
    scratch: Path,
) -> tuple[Tokenizer, dict[str, Any]]:
    """Learn a tokenizer; return the tokenizer and a report: sizes of the text, and the numbers of `describe`.

    `share` is the fraction at the start of each unit that is learned from; 1 or more means all. `scratch` is a folder
    for counts that do not fit into memory. The tokenizer does not depend on `num_workers`.
    """
    totals = ChunkTotals(scratch)
    documents_read = bytes_read = 0
    num_merges = count_merges(vocab_size)
    with byte_bar("counting") as bar:
        make_worker = functools.partial(_CountChunks, read, share)
        for num_documents, num_bytes, chunks in run_tasks(make_worker, cut_blocks(units), num_workers):
            documents_read += num_documents
            bytes_read += num_bytes
            totals.add(chunks)
            bar.update(num_bytes)
    with tqdm(desc="merging", total=num_merges, unit="merge", disable=None) as bar:
        chunks, num_rare = totals.take_most_frequent()
        learned = learn(chunks, num_merges, min_count=min_count, progress=bar.update)
    report = {"documents": documents_read, "bytes": bytes_read, "left_out_rare_chunks": num_rare, **describe(learned)}
    return Tokenizer.from_merges(learned.merges), report


def describe(learned: Learned) -> dict[str, Any]:
    """Return statistics of a learned tokenizer on the text that it was learned from.

    Returns:
        characters_per_token; unused_ids: number of ids that do not occur in the text after all merges;
        whole_word_fraction: the fraction of the text's bytes in chunks that are a single token; distinct_chunks;
        left_out_long_chunks: number of occurrences of chunks longer than `train.MAX_CHUNK_BYTES`.
    """
    counts = learned.counts
    num_ids = np.diff(learned.ends, prepend=0)
    num_chars = np.fromiter(map(len, learned.chunks), np.int64, len(counts))
    num_bytes = np.fromiter((len(chunk.encode()) for chunk in learned.chunks), np.int64, len(counts))
    one_token_bytes = int(counts @ (num_bytes * (num_ids == 1)))
    return {
        "distinct_chunks": len(counts),
        "left_out_long_chunks": learned.num_left_out,
        "characters_per_token": round(int(counts @ num_chars) / max(1, int(counts @ num_ids)), 4),
        "whole_word_fraction": round(one_token_bytes / max(1, int(counts @ num_bytes)), 4),
        "unused_ids": 256 + len(learned.merges) - len(np.unique(learned.ids)),
    }
