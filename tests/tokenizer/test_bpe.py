"""Splitting, and merging the chunks that come out: `electra.tokenizer.bpe`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tokenizer import bpe
from tests.helpers.merges import BYTE_IDS, A, B, C, random_merges
from tests.helpers.oracles import encode_pair_by_pair


def test_stand_ins_are_256_printable_characters_and_ids_follow_their_order():
    assert len(set(bpe.BYTE_TO_CHAR)) == 256
    assert all(char.isprintable() and not char.isspace() for char in bpe.BYTE_TO_CHAR)
    assert [bpe.BYTE_TO_CHAR[byte] for byte in b" \n!a"] == ["Ġ", "Ċ", "!", "a"]
    stand_ins = [bpe.BYTE_TO_CHAR[byte] for byte in bpe.BYTES_IN_ID_ORDER]
    assert stand_ins == sorted(bpe.BYTE_TO_CHAR)
    assert BYTE_IDS[ord("!")] == 4
    assert [int(bpe.BYTE_TO_ID[byte]) for byte in range(256)] == [BYTE_IDS[byte] for byte in range(256)]


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("I've  two cats,ok?", ["I", "'ve", " ", " two", " cats", ",", "ok", "?"]),
        ("x\n\n\ny \n", ["x", "\n\n", "\n", "y", " \n"]),
        ("in 1999's", [" in"[1:], " 1999", "'s"]),
        ("It'S", ["It", "'", "S"]),
        (" a\u00a0b", [" a", "\u00a0", "b"]),
        ("", []),
    ],
)
def test_text_is_split_as_gpt2_does(text: str, chunks: list[str]):
    assert bpe.split_text(text) == chunks


def encode(chunk: bytes, merges: list[bpe.Merge]) -> list[int]:
    return bpe.encode_chunk(chunk, bpe.index_merges(merges))


def test_merges_are_applied_in_the_order_they_were_learned():
    ab, abc, bc = (A, B), (260, C), (B, C)
    assert encode(b"abc", [ab, abc]) == [261]
    assert encode(b"abc", [bc, ab]) == [A, 260]  # a longer token does not win over an earlier merge
    assert encode(b"abcbc", [ab, bc]) == [260, C, 261]
    assert encode(b"aaaaa", [(A, A)]) == [260, 260, A]  # from the left
    assert encode(b"", [ab]) == []


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([b"a", b"ab", b"abcd"]), st.integers(0, 30))
def test_encoding_equals_merging_pair_by_pair(seed: int, letters: bytes, num_merges: int):
    draw = random.Random(seed)
    merges = random_merges(draw, letters, num_merges)
    for _ in range(10):
        chunk = bytes(draw.choices(letters, k=draw.randint(1, 30)))
        assert encode(chunk, merges) == encode_pair_by_pair(chunk, BYTE_IDS, merges, bpe.FIRST_MERGE_ID)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("letters", ["a", "abcdefghijklmnopqrstuvwxyz"])
def test_a_chunk_of_100_kilobytes_takes_a_second(letters: str):
    """Merging pair by pair would take hours."""
    draw = random.Random(3)
    merges = random_merges(draw, letters.encode(), 200)
    chunk = "".join(draw.choices(letters, k=100_000)).encode()
    tokens = bpe.token_bytes(merges)
    assert b"".join(tokens[token] for token in encode(chunk, merges)) == chunk
