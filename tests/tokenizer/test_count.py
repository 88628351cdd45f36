"""Counting chunks in bounded memory: `electra.tokenizer.count`."""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from pathlib import Path

import pytest

from electra.tokenizer import bpe, count
from electra.tokenizer.count import ChunkCounter, ChunkTotals


def test_chunks_are_counted_over_documents_until_they_are_taken(monkeypatch: pytest.MonkeyPatch):
    draw = random.Random(4)
    words = ["".join(draw.choices("abcé ,.", k=draw.randint(1, 9))) for _ in range(300)] + ["x" * 40, "y " * 9]
    documents = [" ".join(draw.choices(words, k=50)) for _ in range(20)]
    expected = Counter(chunk for text in documents for chunk in bpe.split_text(text))
    monkeypatch.setattr(count, "_MAX_HELD_CHUNKS", len(expected) - 1)
    counter = ChunkCounter()
    assert counter.add([]) == counter.add([""]) == 0
    assert not counter.is_full()
    sizes = [counter.add(documents[n : n + 3]) for n in range(0, 20, 3)]
    assert counter.is_full()
    assert counter.take() == expected
    assert sum(sizes) == sum(len(text.encode()) for text in documents)
    assert not counter.take()


def parts_of(seed: int) -> list[Counter[str]]:
    """The counts of 40 workers' parts: 200 different chunks, most of them rare."""
    draw = random.Random(seed)
    chunks = [f" {n}\n" for n in range(200)]
    weights = [1 / (n + 1) for n in range(200)]
    return [Counter(draw.choices(chunks, weights, k=15)) for _ in range(40)]


def test_what_fits_into_memory_is_added_up_there(tmp_path: Path):
    totals = ChunkTotals(tmp_path, max_chunks=200)
    for part in parts_of(0):
        totals.add(part)
    assert totals.take_most_frequent() == (sum(parts_of(0), Counter()), 0)
    assert not totals._files


@pytest.mark.parametrize("seed", range(3))
def test_beyond_that_the_most_frequent_are_kept_with_their_exact_counts(seed: int, tmp_path: Path):
    parts = parts_of(seed)
    everything = sum(parts, Counter())
    ranked = sorted(everything, key=lambda chunk: (-everything[chunk], -zlib.crc32(chunk.encode())))
    for order in (parts, parts[::-1], [sum(parts[:20], Counter()), *parts[20:]]):
        totals = ChunkTotals(tmp_path, max_chunks=50)
        for part in order:
            totals.add(part)
            assert len(totals._counts) <= 50
        kept, num_rare = totals.take_most_frequent()
        assert kept == {chunk: everything[chunk] for chunk in ranked[:50]}
        assert num_rare == sum(everything[chunk] for chunk in ranked[50:]) == 600 - kept.total()
        assert len(totals._files) > 1
    assert os.listdir(tmp_path) == []  # the files have no name, so none outlives its process
