"""Encoding what is new and remembering what was seen: `electra.tokenizer.encode`."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from electra.tokenizer import bpe
from electra.tokenizer.encode import TextEncoder
from electra.tokenizer.train import learn_merges
from tests.conftest import word_salad
from tests.helpers.merges import BYTE_IDS
from tests.helpers.oracles import encode_pair_by_pair

TEXTS = [*word_salad(40, 60), "L'été, 50 °C — 漢字 and 🙂🙂!\n\n\tdef f(x):\n        return x\n" * 3]
MERGES = learn_merges({chunk: 2 for text in TEXTS for chunk in bpe.split_text(text)}, 150)


def make_encoder(**limits: int) -> TextEncoder:
    return TextEncoder(MERGES, range(4 + 256 + len(MERGES)), **limits)


def expected(text: str) -> list[int]:
    """The ids by definition: chunk by chunk, pair by pair."""
    return [n for chunk in bpe.split_text(text) for n in encode_pair_by_pair(chunk.encode(), BYTE_IDS, MERGES, 260)]


def documents_of(encoder: TextEncoder, texts: list[str]) -> list[list[int]]:
    ids, ends = encoder.encode_documents(texts)
    return [document.tolist() for document in np.split(ids, ends[:-1])]


def test_documents_and_single_texts_get_the_ids_of_the_definition():
    encoder = make_encoder()
    assert documents_of(encoder, TEXTS) == list(map(expected, TEXTS))
    assert [np.frombuffer(encoder.encode(text), "<u2").tolist() for text in TEXTS] == list(map(expected, TEXTS))


def test_memory_is_bounded_and_does_not_change_the_ids():
    encoder = make_encoder(max_words=30, max_chunks=40)
    for _ in range(3):
        for n in range(0, len(TEXTS), 7):
            assert documents_of(encoder, TEXTS[n : n + 7]) == list(map(expected, TEXTS[n : n + 7]))
            assert encoder._table.num_words == len(encoder._ids_of_word.lengths)
    assert encoder._table.num_words > 30
    documents_of(encoder, ["new words"])
    assert encoder._table.num_words == len(encoder._ids_of_word.lengths) == 2  # begun anew
    kept = dict(encoder._chunks)
    assert len(kept) >= 40
    encoder.encode("words never seen before")  # the memory is full
    assert encoder._chunks == kept


def test_long_chunks_are_not_kept():
    encoder = make_encoder()
    encoder.encode("a" * 65 + " " + "b" * 63)
    assert list(encoder._chunks) == [" " + "b" * 63]


def test_many_new_chunks_at_once_get_the_ids_of_the_definition():
    """More than `_MIN_BATCH`, some of them too long to be merged with the others."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.choice([1, 4, 9, 70]))) for _ in range(400)]
    texts = [" ".join(words), " é".join(words)]
    assert documents_of(make_encoder(), texts) == list(map(expected, texts))


def test_ids_are_translated():
    reversed_ids = [*range(4), *range(4 + 256 + len(MERGES) - 1, 3, -1)]
    encoder = TextEncoder(MERGES, reversed_ids)
    many = " ".join(TEXTS)
    assert documents_of(encoder, [many]) == [[reversed_ids[n] for n in expected(many)]]
    assert np.frombuffer(encoder.encode("ab é"), "<u2").tolist() == [reversed_ids[n] for n in expected("ab é")]
    assert np.frombuffer(encoder.encode_any(b"\xff"), "<u2").tolist() == [reversed_ids[BYTE_IDS[255]]]


def test_real_documents_get_the_ids_of_the_definition(real_data: Path):
    texts = [
        path.read_text() for path in sorted((real_data / "openwebtext-real-documents").rglob("*.txt"))
    ]  # fmt: skip
    assert len(texts) == 4
    assert documents_of(make_encoder(), texts) == list(map(expected, texts))


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_chunk_of_a_megabyte_takes_seconds():
    draw = random.Random(0)
    encoder = make_encoder()
    for text in ("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000)), "a" * 1_000_000):
        assert len(encoder.encode(text)) > 2 * 80_000
