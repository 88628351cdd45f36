"""Learn a tokenizer from a corpus: count chunks in worker processes, merge in this one, report what came out."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from electra.data import corpus
from electra.data.workers import paused_gc, run_tasks
from electra.tokenizer.byte_level import Tokenizer, count_merges, group_texts
from electra.tokenizer.count import ChunkCounter, ChunkTotals
from electra.tokenizer.train import Learned, learn

Reader = Callable[..., Iterator[str]]


class Block(NamedTuple):
    """The input of one task, and of one shard."""

    number: int
    units: list[corpus.Unit]


def cut_blocks(units: Iterable[corpus.Unit]) -> Iterator[Block]:
    """Group consecutive units until they hold about `corpus.BLOCK_BYTES` of text."""
    block: list[corpus.Unit] = []
    number = size = 0
    for unit in units:
        block.append(unit)
        size += unit.size
        if size >= corpus.BLOCK_BYTES:
            yield Block(number, block)
            block, number, size = [], number + 1, 0
    if block:
        yield Block(number, block)


class Counted(NamedTuple):
    """What a counting worker says of some documents: how many they are; and, when it is full, the chunks so far."""

    num_documents: int
    num_bytes: int
    chunks: Counter[str]


class _CountChunks:
    """A counting worker. Of each unit it reads the first documents, up to `share` of the unit's size."""

    def __init__(self, read: Reader, share: float) -> None:
        self._read, self._share = read, share
        self._counter = ChunkCounter()

    def __call__(self, block: Block | None) -> Iterator[Counted]:
        if block is None:
            yield Counted(0, 0, self._counter.take())
            return
        for texts in group_texts(text for unit in block.units for text in self._sample(unit)):
            num_bytes = self._counter.add(texts)
            yield Counted(len(texts), num_bytes, self._counter.take() if self._counter.is_full() else Counter())

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
    bar: Callable[..., Any],
    scratch: Path,
) -> tuple[Tokenizer, dict[str, Any]]:
    """Learn a tokenizer from a share of each unit's text.

    Args:
        scratch: folder for counts that do not fit into memory.

    Returns:
        The tokenizer, equal for any number of workers, and the numbers of `describe` for the manifest.
    """
    totals = ChunkTotals(scratch)
    num_documents = num_bytes = 0
    make_worker = functools.partial(_CountChunks, read, share)
    with paused_gc():
        with bar("counting") as progress:
            is_quiet = progress.disable  # which closing sets
            for counted in run_tasks(make_worker, cut_blocks(units), num_workers):
                num_documents += counted.num_documents
                num_bytes += counted.num_bytes
                totals.add(counted.chunks)
                progress.update(counted.num_bytes / share if share < 1 else counted.num_bytes)
            progress.total = progress.n  # of packed text it was a guess
        with tqdm(desc="merging", total=count_merges(vocab_size), unit="merge", disable=is_quiet) as progress:

            def show(done: int, _: int) -> None:
                progress.update(done - progress.n)

            chunks, num_rare = totals.take_most_frequent()
            learned = learn(chunks, count_merges(vocab_size), min_count=min_count, progress=show)
    report = {"documents": num_documents, "bytes": num_bytes, "left_out_rare_chunks": num_rare, **describe(learned)}
    return Tokenizer.from_merges(learned.merges), report


def describe(learned: Learned) -> dict[str, Any]:
    """What a tokenizer does to the text it was learned from.

    Returns:
        characters_per_token; unused_ids: ids of text that occur nowhere once all merges are made;
        whole_word_fraction: the share of the text's bytes in chunks that are one token; distinct_chunks;
        left_out_long_chunks: occurrences of chunks longer than `train.MAX_CHUNK_BYTES`.
    """
    counts = learned.counts
    num_ids = np.diff(learned.ends, prepend=0)
    num_chars = np.fromiter(map(len, learned.chunks), np.int64, len(counts))
    num_bytes = np.fromiter((len(chunk.encode()) for chunk in learned.chunks), np.int64, len(counts))
    text_chars, text_bytes, tokens = int(counts @ num_chars), int(counts @ num_bytes), int(counts @ num_ids)
    one_token_bytes = int(counts @ (num_bytes * (num_ids == 1)))
    return {
        "distinct_chunks": len(counts),
        "left_out_long_chunks": learned.num_left_out,
        "characters_per_token": round(text_chars / max(1, tokens), 4),
        "whole_word_fraction": round(one_token_bytes / max(1, text_bytes), 4),
        "unused_ids": 256 + len(learned.merges) - len(np.unique(learned.ids)),
    }
