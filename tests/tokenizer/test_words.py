"""Words of many documents, cut and numbered in arrays: `electra.tokenizer.words`."""

from __future__ import annotations

import random

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tokenizer import bpe
from electra.tokenizer import words as word_table
from electra.tokenizer.words import MAX_WORD_BYTES, Ragged, WordTable, cut_words

WIDE = "\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
NEAR_WIDE = "\xa9é¨\u0680\u3080\u2080\u30a8\u200b\u180e\u16bf\ue8a0"  # bytes that also end a wide space
MIXED = st.text(alphabet="ab'sd1. \t\n\r\x0b\x0c\x00\x1c\x1f漢🙂" + WIDE + NEAR_WIDE, max_size=30)


def words_of(texts: list[str]) -> list[list[bytes]]:
    """The words of each document."""
    words = cut_words(texts)
    starts = [0, *words.document_ends.tolist()]
    return [words.texts()[starts[n] : starts[n + 1]] for n in range(len(texts))]


def test_words_begin_where_white_space_begins():
    text = "One two,  three\n\nfour \t\x0bfive\r\n"
    assert words_of([text, "", "six"]) == [
        [b"One", b" two,", b"  three", b"\n\nfour", b" \t\x0bfive", b"\r\n"],
        [],
        [b"six"],
    ]


def test_white_space_after_wide_white_space_begins_no_word():
    assert words_of(["a\u3000 b\xa0\nc\u2003\u2003 d"]) == [["a\u3000 b\xa0\nc\u2003\u2003 d".encode()]]
    assert words_of(["é c© d"]) == [["é".encode(), " c©".encode(), b" d"]]  # these end in the bytes of wide spaces


@settings(max_examples=500, deadline=None)
@given(st.lists(MIXED, max_size=6))
def test_the_chunks_of_a_text_are_the_chunks_of_its_words(texts: list[str]):
    words = words_of(texts)
    assert [b"".join(document).decode() for document in words] == texts
    chunks = [[chunk for word in document for chunk in bpe.split_text(word.decode())] for document in words]
    assert chunks == list(map(bpe.split_text, texts))


def test_every_wide_space_is_known():
    every = [chr(n) for n in range(0x80, 0x110000) if not 0xD800 <= n <= 0xDFFF]
    parts = [f"{char} x" for char in every]
    starts = set(cut_words(["".join(parts)]).starts.tolist())
    ends = np.cumsum([len(part.encode()) for part in parts])
    no_word_after = {char for char, end in zip(every, ends.tolist(), strict=True) if end - 2 not in starts}
    assert no_word_after == set(regex.findall(r"\s", "".join(every)))
    assert len(no_word_after) == 19


def test_words_keep_their_numbers_and_new_ones_go_on_from_there():
    table = WordTable(max_words=100)
    first, second = cut_words(["a b b a\x00 a"]), cut_words([" c a b"])
    numbers, new = table.number(first)
    number_of = dict(zip(first.texts(), numbers.tolist(), strict=True))
    assert sorted(number_of.values()) == [0, 1, 2, 3]
    assert {first.texts()[n] for n in new} == set(number_of)
    assert table.number(second)[0].tolist() == [4, number_of[b" a"], number_of[b" b"]]
    assert table.number(second)[1].tolist() == []
    assert table.num_words == 5


@pytest.mark.parametrize("letters", ["ab", "abcdefgh\x00"])
def test_equal_words_have_equal_numbers_and_others_do_not(letters: str, monkeypatch: pytest.MonkeyPatch):
    """Against a dictionary, in a table so full that most words collide."""
    monkeypatch.setattr(word_table, "_BATCH_WORDS", 200)
    draw = random.Random(1)
    table = WordTable(max_words=100)
    assert len(table._numbers) == 512
    numbers_of: dict[bytes, int] = {}
    for _ in range(60):
        if table.is_full():
            assert table.num_words > 100
            table.clear()
            numbers_of = {}
        words = cut_words([" ".join("".join(draw.choices(letters, k=draw.randint(1, 14))) for _ in range(50))])
        before = table.num_words
        numbers, new = table.number(words)
        texts = words.texts()
        assert {texts[n] for n in new} == set(texts) - set(numbers_of)
        assert numbers[new].tolist() == list(range(before, table.num_words))
        for text, number in zip(texts, numbers.tolist(), strict=True):
            assert numbers_of.setdefault(text, number) == number
        assert len(set(numbers_of.values())) == len(numbers_of) == table.num_words


def test_words_of_every_length_up_to_the_longest_have_keys_of_their_own():
    words = ["x" * n for n in range(1, MAX_WORD_BYTES)] + ["x" * n + "y" for n in range(MAX_WORD_BYTES - 1)]
    table = WordTable(max_words=100)
    numbers, new = table.number(cut_words([" ".join(words)]))
    assert len(new) == len(set(numbers.tolist())) == len(set(words))


def test_batches_are_parts_of_bounded_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(word_table, "_BATCH_WORDS", 3)
    words = cut_words(["a b c d e f g h"])
    assert [batch.texts() for batch in words.batches()] == [[b"a", b" b", b" c"], [b" d", b" e", b" f"], [b" g", b" h"]]
    assert list(cut_words([]).batches()) == []


def test_ragged_rows_are_taken_in_any_order():
    rows = Ragged(np.array([1, 2, 3, 4, 5, 6]), np.array([2, 0, 3, 1]))
    taken = rows.take(np.array([3, 2, 2, 1, 0]))
    assert taken.values.tolist() == [6, 3, 4, 5, 3, 4, 5, 1, 2]
    assert taken.lengths.tolist() == [1, 3, 3, 0, 2]
    assert rows.take(np.empty(0, np.int64)).values.tolist() == []
    joined = Ragged.joined([rows, taken])
    assert joined.take(np.array([4, 0])).values.tolist() == [6, 1, 2]
