"""Merging many chunks together: `electra.tokenizer.batch_merge`."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tokenizer.batch_merge import MAX_CHUNK_BYTES, BatchMerger
from electra.tokenizer.train import learn_merges
from tests.helpers.merges import BYTE_IDS, random_merges
from tests.helpers.oracles import encode_pair_by_pair


def rows_of(merger: BatchMerger, chunks: list[bytes]) -> list[list[int]]:
    rows = merger.encode(chunks)
    assert len(rows.lengths) == len(chunks)
    return [row.tolist() for row in np.split(rows.values, np.cumsum(rows.lengths)[:-1])]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([b"a", b"ab", b"abcd"]), st.integers(0, 30))
def test_many_chunks_are_merged_as_each_is_pair_by_pair(seed: int, letters: bytes, num_merges: int):
    draw = random.Random(seed)
    merges = random_merges(draw, letters, num_merges)
    chunks = [bytes(draw.choices(letters, k=draw.randint(1, MAX_CHUNK_BYTES))) for _ in range(draw.randint(1, 20))]
    assert rows_of(BatchMerger(merges), chunks) == [encode_pair_by_pair(c, BYTE_IDS, merges, 260) for c in chunks]


def test_all_bytes_are_merged():
    draw = random.Random(0)
    words = [draw.randbytes(draw.randint(1, 6)) for _ in range(40)]
    text = {bytes(draw.choice(words)).decode("latin-1") * 2: 3 for _ in range(60)}
    merges = learn_merges(text, 200)
    chunks = [chunk.encode() for chunk in text] + [bytes([byte]) for byte in range(256)]
    assert rows_of(BatchMerger(merges), chunks) == [encode_pair_by_pair(c, BYTE_IDS, merges, 260) for c in chunks]


@pytest.mark.parametrize("merges", [[], [(68, 69)]])
def test_no_chunks_and_no_merges_are_no_problem(merges: list[tuple[int, int]]):
    assert BatchMerger(merges).encode([]).values.tolist() == []
    assert rows_of(BatchMerger(merges), [b"xyz"]) == [[BYTE_IDS[byte] for byte in b"xyz"]]
