"""Text to ids and back, and their file: `electra.tokenizer.byte_level`, `electra.tokenizer.json_format`."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electra.data import corpus
from electra.files import FormatError
from electra.ids import SpecialIds
from electra.tokenizer import bpe
from electra.tokenizer import byte_level as tokenizer
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.json_format import printable
from electra.tokenizer.train import learn
from tests.conftest import word_salad
from tests.helpers.merges import BYTE_IDS
from tests.helpers.oracles import encode_pair_by_pair

TEXTS = [*word_salad(40, 60), "L'été, 50 °C — 漢字 and 🙂🙂!\n\n\tdef f(x):\n        return x  # [MASK] [PAD]\n" * 3]
TOKENIZER = Tokenizer.train(TEXTS, 401)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SPACED = st.text(alphabet="abc \n\t\u3000.'s[MASK]é🙂", max_size=60)


def changed(change: Callable[[dict[str, Any]], object], path: Path) -> Path:
    """The file of `TOKENIZER` with one change."""
    TOKENIZER.save(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_ids_are_specials_then_bytes_then_merges():
    assert TOKENIZER.vocab_size == 401
    assert TOKENIZER.special_ids == SpecialIds(pad=0, cls=1, sep=2, mask=3)
    assert [TOKENIZER.token(n) for n in range(6)] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "!", '"']
    assert all(4 <= token_id < 401 for text in TEXTS for token_id in TOKENIZER.encode(text))


def test_ids_are_those_of_merging_pair_by_pair():
    merges = learn({"abab": 3, " ab": 2, "é": 4}, 9).merges
    text = "abab ab é\nabé ababab"
    expected = [n for chunk in bpe.split_text(text) for n in encode_pair_by_pair(chunk.encode(), BYTE_IDS, merges, 260)]
    assert Tokenizer.from_merges(merges).encode(text) == expected


@settings(max_examples=300, deadline=None)
@given(st.one_of(ANY_TEXT, SPACED))
def test_every_text_comes_back(text: str):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@pytest.mark.parametrize("name", ["[PAD]", "[CLS]", "[SEP]", "[MASK]"])
def test_text_never_yields_a_special_id(name: str):
    ids = TOKENIZER.encode(f"{name} {name}\n{name}{name}")
    assert not set(ids) & set(TOKENIZER.special_ids)
    assert TOKENIZER.decode(ids) == f"{name} {name}\n{name}{name}"


def test_special_ids_are_left_out_of_decoded_text():
    ids = [1, *TOKENIZER.encode(" two"), 3, *TOKENIZER.encode(" words"), 2, 0, 0]
    assert TOKENIZER.decode(ids) == " two words"


def test_lone_surrogates_are_refused():
    for encode in (TOKENIZER.encode, lambda text: TOKENIZER.encode_documents(["good", text])):
        with pytest.raises(ValueError, match="surrogates not allowed"):
            encode("ab\ud800c")


def test_the_memory_for_chunks_is_bounded_and_has_no_long_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokenizer, "_MAX_CACHED", 3)
    small = Tokenizer(TOKENIZER._vocabulary)
    for _ in range(2):
        assert [small.encode(text) for text in TEXTS] == [TOKENIZER.encode(text) for text in TEXTS]
    assert small._encode_chunk.cache_info().currsize == 3
    misses = small._encode_chunk.cache_info().misses
    small.encode("a" * 65)
    assert small._encode_chunk.cache_info().misses == misses


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(ANY_TEXT, SPACED), max_size=9))
def test_documents_together_get_the_ids_they_get_alone(texts: list[str]):
    for tokenizer_ in (TOKENIZER, Tokenizer.from_merges(learn({"abab": 3, " ab": 2}, 9).merges)):
        documents = tokenizer_.encode_documents(texts)
        assert all(ids.dtype.str == "<u2" for ids in documents)
        assert [ids.tolist() for ids in documents] == list(map(tokenizer_.encode, texts))


@pytest.mark.parametrize(("size", "written"), [(259, "259"), (65_537, "65,537"), (0, "0")])
def test_impossible_vocabulary_sizes_are_refused(size: int, written: str):
    message = rf"--vocab-size: expected 260 \(special tokens and bytes\) to 65,536 \(16 bits\), found {written};"
    with pytest.raises(ValueError, match=message):
        Tokenizer.train([], size)


def test_the_smallest_vocabulary_is_the_bytes_and_the_largest_id_fits_16_bits():
    assert Tokenizer.train(TEXTS, 260).encode("é") == [bpe.BYTE_TO_ID[0xC3], bpe.BYTE_TO_ID[0xA9]]
    pairs = [(4 + n // 256, 4 + n % 256) for n in reversed(range(tokenizer.count_merges(65_536)))]
    full = Tokenizer.from_merges(pairs)
    assert full.vocab_size == 65_536
    assert full.encode("!!") == [65_535]
    assert full.decode([65_535]) == "!!"


# --- the file ---------------------------------------------------------------------------------------------


def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path: Path):
    TOKENIZER.save(tmp_path)
    TOKENIZER.save(tmp_path / "other.json")
    assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "other.json").read_bytes()
    for path in (tmp_path, tmp_path / "other.json"):
        loaded = Tokenizer.load(path)
        assert loaded.fingerprint == TOKENIZER.fingerprint
        assert [loaded.encode(text) for text in TEXTS] == [TOKENIZER.encode(text) for text in TEXTS]


def test_the_fingerprint_follows_merges_names_and_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    merges = learn({"abc": 5}, 2).merges
    first = Tokenizer.from_merges(merges).fingerprint
    assert first == Tokenizer.from_merges(merges).fingerprint
    renamed = changed(lambda c: rename(c, "[MASK]", "<mask>"), tmp_path / "renamed.json")
    others = {Tokenizer.from_merges(merges[:1]).fingerprint, Tokenizer.load(renamed).fingerprint}
    monkeypatch.setattr(bpe, "split_digest", lambda: "of another Unicode")
    others.add(Tokenizer.from_merges(merges).fingerprint)
    assert len(others - {first, TOKENIZER.fingerprint}) == 3


def rename(content: dict[str, Any], old: str, new: str) -> None:
    """Give a special token another name, everywhere."""
    content["model"]["vocab"][new] = content["model"]["vocab"].pop(old)
    for token in content["added_tokens"]:
        token["content"] = new if token["content"] == old else token["content"]


def as_split_and_byte_level(content: dict[str, Any]) -> None:
    split = {"type": "Split", "pattern": {"Regex": bpe.GPT2_PATTERN}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}


def with_merges_in_lists(content: dict[str, Any]) -> None:
    content["model"]["merges"] = [merge.split(" ") for merge in content["model"]["merges"]]


def with_other_names(content: dict[str, Any]) -> None:
    for old, new in (("[PAD]", "<pad>"), ("[CLS]", "<s>"), ("[SEP]", "</s>"), ("[MASK]", "<mask>")):
        rename(content, old, new)


@pytest.mark.parametrize("change", [as_split_and_byte_level, with_merges_in_lists, with_other_names])
def test_other_ways_to_write_the_same_tokenizer_are_read(change: Callable[[dict[str, Any]], None], tmp_path: Path):
    loaded = Tokenizer.load(changed(change, tmp_path / "tokenizer.json"))
    assert [loaded.encode(text) for text in TEXTS] == [TOKENIZER.encode(text) for text in TEXTS]
    assert loaded.special_ids == TOKENIZER.special_ids


def test_a_foreign_numbering_is_kept_and_written_back(tmp_path: Path):
    def reverse(content: dict[str, Any]) -> None:
        """The last id first, and a token more that text does not yield."""
        vocab = content["model"]["vocab"]
        content["model"]["vocab"] = {name: len(vocab) - n for name, n in vocab.items()} | {"<unk>": 0}
        for token in content["added_tokens"]:
            token["id"] = len(vocab) - token["id"]

    loaded = Tokenizer.load(changed(reverse, tmp_path / "tokenizer.json"))
    assert (loaded.vocab_size, loaded.special_ids) == (402, SpecialIds(pad=401, cls=400, sep=399, mask=398))
    assert [loaded.token(n) for n in (0, 398, 397)] == ["<unk>", "[MASK]", "!"]
    for text in TEXTS:
        assert loaded.encode(text) == [401 - n for n in TOKENIZER.encode(text)]
        assert loaded.decode(loaded.encode(text)) == text
    loaded.save(tmp_path / "again.json")
    assert Tokenizer.load(tmp_path / "again.json").fingerprint == loaded.fingerprint != TOKENIZER.fingerprint


def with_pattern(pattern: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        as_split_and_byte_level(content)
        content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}

    return change


def without_mask_and_pad(content: dict[str, Any]) -> None:
    for name in ("[PAD]", "[MASK]"):
        rename(content, name, "<" + name)


NO_BYTE = "expected a token for each of the 256 bytes, found 1 missing"
REFUSED: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda c: c["model"].update(type="Unigram"), "expected a BPE or WordPiece model, found a Unigram model"),
    (lambda c: c["model"].update(type="WordPiece"), "expected an uncased WordPiece with type BertNormalizer, found"),
    (lambda c: c["added_tokens"].append({"id": 401, "content": "covid"}), "found words added to the .* \\('covid'\\)"),
    (lambda c: c["model"]["vocab"].update({"!": 4.0}), "expected whole numbers as ids"),
    (lambda c: c["added_tokens"].append({"id": 401, "content": "a", "special": True}), "one id a token, found a token"),
    (lambda c: c["model"]["vocab"].update({"!": 10**20}), "each id from 0 on to be one token"),
    (lambda c: c["model"].update(merges=[["a"]]), "of the tokenizers library, found IndexError"),
    (lambda c: c.update(normalizer={"type": "NFC"}), "expected no normalizer, found NFC"),
    (lambda c: c["model"].update(dropout=0.1), "without dropout, found dropout = 0.1"),
    (lambda c: c["model"].update(ignore_merges=True), "without ignore_merges, found ignore_merges = True"),
    (
        lambda c: c["pre_tokenizer"].update(add_prefix_space=True),
        "expected no space put before a text, found add_prefix_space",
    ),
    (
        lambda c: c["pre_tokenizer"].update(use_regex=False),
        'the GPT-2 pattern, found the pre-tokenizer .*"use_regex": false',
    ),
    (lambda c: c.update(pre_tokenizer={"type": "Metaspace"}), "GPT-2 pattern, found the pre-tokenizer .*Metaspace"),
    (lambda c: c.update(pre_tokenizer=None), 'expected the GPT-2 pattern, found the pre-tokenizer {"type": "none"}'),
    (with_pattern(r"\p{N}{1,3}"), r"expected the GPT-2 pattern, found the pre-tokenizer .*\\p\{N\}\{1,3\}"),
    (without_mask_and_pad, r"found no \[PAD\], \[MASK\]; this package reads"),
    (lambda c: (c["model"]["vocab"].pop("\u0120"), c["model"]["merges"].clear()), NO_BYTE),
    (lambda c: c["model"]["merges"].reverse(), "merges of tokens made before, each made once, found merge 0 of"),
    (lambda c: c["model"]["merges"].append(c["model"]["merges"][0]), "each made once, found merge 141 of"),
    (lambda c: c["model"]["vocab"].update({"<unk>": 900}), "each id from 0 on to be one token, found 402 tokens"),
    (lambda c: c.pop("model"), "expected dict as 'model', found no such field"),
    (lambda c: c["model"].pop("merges"), "found KeyError 'merges'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_other_tokenizers_are_refused_by_name(change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path):
    path = changed(change, tmp_path / "tokenizer.json")
    with pytest.raises(FormatError, match=message) as raised:
        Tokenizer.load(path)
    assert str(raised.value).startswith(f"{path}: expected")
    assert "\n" not in str(raised.value)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/tokenizer.json: expected a tokenizer, found nothing"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(FormatError, match="expected JSON"):
        Tokenizer.load(tmp_path)


# --- the `tokenizers` library -----------------------------------------------------------------------------

# Engines differ on characters that are newer than their Unicode; they agree on all of 14, which Python 3.11 has.
UNICODE = unicodedata if unicodedata.unidata_version == "14.0.0" else unicodedata.ucd_3_2_0
ASSIGNED = [chr(n) for n in range(0x110000) if UNICODE.category(chr(n)) not in ("Cs", "Cn")]
ADVERSARIAL = st.one_of(
    st.text(st.sampled_from(ASSIGNED), max_size=40),
    st.text(alphabet="'sStTrRvVmMlLdD \t\n\r\x0b\x1c\x85\xa0\u2028\u3000a1.é漢٣\u0301🙂[MASK]", max_size=40),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`TOKENIZER` as the `tokenizers` library reads our file, told not to look for special tokens in text."""
    tokenizers = pytest.importorskip("tokenizers")
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZER.save(path)
    opened = tokenizers.Tokenizer.from_file(str(path))
    opened.encode_special_tokens = True
    return opened


@pytest.mark.oracle
def test_the_library_opens_our_file_and_frames_texts_as_the_model_expects(library: Any):
    ids = TOKENIZER.encode("one")
    others = TOKENIZER.encode(" two")
    pair = library.encode("one", " two")
    assert pair.ids == [1, *ids, 2, *others, 2]
    assert pair.type_ids == [0] * (len(ids) + 2) + [1] * (len(others) + 1)
    assert library.encode("one").ids == [1, *ids, 2]
    assert library.get_vocab_size() == TOKENIZER.vocab_size
    assert library.decode([1, *ids, 3, 2]) == "one"


@pytest.mark.oracle
def test_the_library_cuts_around_every_character_as_we_do():
    """Each one after a letter, before and after a digit, before a sign: 280,000 in Unicode 14."""
    cut = pytest.importorskip("tokenizers").pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    for first in range(0, len(ASSIGNED), 1000):
        text = "".join(f"x{char}7{char}!" for char in ASSIGNED[first : first + 1000])
        assert [piece for piece, _ in cut(text)] == [printable(chunk.encode()) for chunk in bpe.split_text(text)]


@pytest.mark.oracle
@settings(max_examples=600, deadline=None)
@given(ADVERSARIAL)
def test_the_library_gives_the_same_ids_for_any_text(library: Any, text: str):
    ids = library.encode(text, add_special_tokens=False).ids
    assert ids == TOKENIZER.encode(text) == TOKENIZER.encode_documents([text])[0].tolist()


@pytest.mark.oracle
def test_the_library_learns_the_same_merges_and_gives_the_same_ids_on_real_text(real_data: Path):
    tokenizers = pytest.importorskip("tokenizers")
    units = corpus.list_units([real_data / "openwebtext-mini.tar.xz"])
    texts = [text for _, unit in zip(range(5), units, strict=False) for text in corpus.read_unit(unit, corpus.Tally())]
    ours = Tokenizer.train(texts, 4_000)
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=4_000, min_frequency=2, special_tokens=[*tokenizer.SPECIAL_TOKENS], initial_alphabet=alphabet
    )
    theirs.train_from_iterator(texts, trainer)
    names = [*tokenizer.SPECIAL_TOKENS, *(printable(ours.decode_bytes([n])) for n in range(4, ours.vocab_size))]
    assert theirs.get_vocab() == dict(zip(names, range(ours.vocab_size), strict=True))
    assert [e.ids for e in theirs.encode_batch(texts)] == [ids.tolist() for ids in ours.encode_documents(texts)]


@pytest.mark.oracle
def test_a_foreign_file_written_by_the_library_is_read(tmp_path: Path):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.ByteLevelBPETokenizer()
    names = "<s> <pad> </s> <unk> <mask>".split()
    theirs.train_from_iterator(TEXTS, 350, special_tokens=names, show_progress=False)
    theirs.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.special_ids == SpecialIds(pad=1, cls=0, sep=2, mask=4)
    for text in TEXTS:
        assert loaded.encode(text) == theirs.encode(text).ids
