"""The distinct words of many documents: `electra.tokenizer.words`."""

from __future__ import annotations

import itertools

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tokenizer import bpe
from electra.tokenizer.words import find_words

WIDE = "\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
NEAR_WIDE = "\xa9é¨\u0680\u3080\u2080\u30a8\u200b\u180e\u16bf\ue8a0"  # share bytes with wide spaces
MIXED = st.text(alphabet="ab'sd1. \t\n\r\x0b\x0c\x00\x1c\x1f漢🙂" + WIDE + NEAR_WIDE, max_size=30)


def words_of(texts: list[str]) -> list[list[str]]:
    """The words of each document."""
    words = find_words(texts)
    in_order = [words.distinct[number] for number in words.numbers]
    return [in_order[start:end] for start, end in itertools.pairwise([0, *words.document_ends.tolist()])]


def test_a_word_begins_at_a_space_before_another_character():
    assert words_of(["One two,  three\n\n four \tfive ", "", "six", " "]) == [
        ["One", " two, ", " three\n\n", " four \tfive "],
        [],
        ["six"],
        [" "],
    ]
    assert words_of(["a \u3000b \xa0c"]) == [["a \u3000b \xa0c"]]  # wide white space
    assert words_of([]) == []


@settings(max_examples=500, deadline=None)
@given(st.lists(MIXED, max_size=6))
def test_the_chunks_of_a_text_are_the_chunks_of_its_words(texts: list[str]):
    words = words_of(texts)
    assert ["".join(document) for document in words] == texts
    chunks = [[chunk for word in document for chunk in bpe.split_text(word)] for document in words]
    assert chunks == list(map(bpe.split_text, texts))


def test_no_word_begins_before_any_white_space():
    every = "".join(chr(n) for n in range(0x110000) if not 0xD800 <= n <= 0xDFFF)
    spaces = regex.findall(r"[^\S ]", every)
    assert len(spaces) == 24
    assert find_words([f"a {space}b" for space in spaces]).numbers.shape == (24,)
    assert find_words([f"a {char}b" for char in "aéя漢🙂"]).numbers.shape == (10,)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 14, 15])
def test_equal_words_are_listed_once_and_others_are_not_mistaken_for_them(length: int):
    texts = ["x" * length, "x" * (length - 1) + "y", "y" + "x" * (length - 1), "x" * length, "x" * length + "\0"]
    words = find_words(texts)
    assert words.distinct[words.numbers[0]] == texts[0]
    assert words.numbers[0] == words.numbers[3]
    assert [words.distinct[number] for number in words.numbers] == texts
    assert len(set(words.numbers.tolist())) == len(set(texts))
