"""Splitting, and merging the chunks that come out: `electra.tokenizer.bpe`."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tokenizer import bpe
from tests.helpers.merges import BYTE_IDS, A, B, C, random_merges
from tests.helpers.oracles import encode_pair_by_pair

SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
MIXED = st.text(alphabet="ab'sdtlmrev1 \n" + SPACES + "é漢٣.!-\x1c\x1f\u200b\u180e\U0001f600", max_size=40)


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


@settings(max_examples=300, deadline=None)
@given(st.lists(MIXED.filter(bool), max_size=9))
def test_words_are_split_together_as_they_are_alone(words: list[str]):
    chunks, ends = bpe.split_words([word.encode() for word in words])
    starts = [0, *ends.tolist()]
    assert [chunks[starts[n] : starts[n + 1]] for n in range(len(words))] == list(map(bpe.split_text, words))


def test_merges_are_applied_in_the_order_they_were_learned():
    ab, abc, bc = (A, B), (260, C), (B, C)
    assert bpe.MergeTable([ab, abc]).encode(b"abc") == [261]
    assert bpe.MergeTable([bc, ab]).encode(b"abc") == [A, 260]  # a longer token does not win over an earlier merge
    assert bpe.MergeTable([ab, bc]).encode(b"abcbc") == [260, C, 261]
    assert bpe.MergeTable([(A, A)]).encode(b"aaaaa") == [260, 260, A]  # from the left


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([b"a", b"ab", b"abcd"]), st.integers(0, 30))
def test_encoding_equals_merging_pair_by_pair(seed: int, letters: bytes, num_merges: int):
    draw = random.Random(seed)
    merges = random_merges(draw, letters, num_merges)
    table = bpe.MergeTable(merges)
    for _ in range(10):
        chunk = bytes(draw.choices(letters, k=draw.randint(1, 30)))
        assert table.encode(chunk) == encode_pair_by_pair(chunk, BYTE_IDS, merges, bpe.FIRST_MERGE_ID)


@pytest.mark.parametrize("letters", [b"a", b"abcdefghijklmnopqrstuvwxyz", b"ab"])
def test_the_work_grows_no_faster_than_the_chunk(letters: bytes, monkeypatch: pytest.MonkeyPatch):
    draw = random.Random(3)
    table = bpe.MergeTable(random_merges(draw, letters, 200))
    calls = 0
    original = bpe.MergeTable._are_merged

    def counting(*arguments: object) -> bool:
        nonlocal calls
        calls += 1
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bpe.MergeTable, "_are_merged", counting)
    work = []
    for size in (2_000, 20_000):
        calls = 0
        table.encode(bytes(draw.choices(letters, k=size)))
        work.append(calls)
    assert work[1] < 12 * work[0]  # ten times the length


@pytest.mark.parametrize("merges", [[(260, A)], [(A, 261), (A, B)], [(3, A)], [(A, -1)]])
def test_a_merge_of_a_token_not_made_before_is_refused(merges: list[tuple[int, int]]):
    with pytest.raises(ValueError, match="merge 0: expected parts that earlier merges make, found"):
        bpe.MergeTable(merges)


def test_a_token_made_twice_is_refused():
    with pytest.raises(ValueError, match="each token to be made once"):
        bpe.MergeTable([(A, B), (B, C), (260, C), (A, 261)])


def test_a_token_that_merging_never_makes_is_refused():
    merges = [(B, C), (A, B), (261, C)]  # "abc" merges "bc" first, so "ab" + "c" is never met
    assert encode_pair_by_pair(b"abc", BYTE_IDS, merges, 260) == [A, 260]
    with pytest.raises(ValueError, match=f"merge 2: expected a token that merging makes, found 261 and {C} apart"):
        bpe.MergeTable(merges)
