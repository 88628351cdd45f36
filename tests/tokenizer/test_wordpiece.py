"""The release's uncased tokenizer: worked examples, refusals, and equality with independent ones."""

from __future__ import annotations

import importlib
import json
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from electra.files import FormatError
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer, split_words, tokenizer_file

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "##a", "##b", "a", "affable", "ask",
         "!", "[", "]", "mask", "cafe", "日", "##ff"]  # fmt: skip


def words_of(ids: list[int]) -> list[str]:
    return [WORDS[number] for number in ids]


@pytest.fixture
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer(WORDS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unaffable", ["un", "##aff", "##able"]),  # the longest piece first: ##aff, not ##a; then not ##a ##b
        ("Unaffable", ["un", "##aff", "##able"]),
        ("affable", ["affable"]),
        ("unaffablex", ["[UNK]"]),  # one piece missing: the whole word
        ("able", ["[UNK]"]),  # known inside a word only
        ("ask! a", ["ask", "!", "a"]),
        ("CAFÉ cafe\u0301", ["cafe", "cafe"]),  # composed or not
        ("a日日a", ["a", "日", "日", "a"]),
        ("", []),
        (" \t\n", []),
    ],
)
def test_words_become_their_longest_pieces(tokenizer: WordPieceTokenizer, text: str, words: list[str]):
    assert words_of(tokenizer.encode(text)) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't stop", ["don", "'", "t", "stop"]),
        ("$5^2`x~", ["$", "5", "^", "2", "`", "x", "~"]),  # ASCII that Unicode calls symbols
        ("«a»…b\u2014c", ["«", "a", "»", "…", "b", "\u2014", "c"]),
        ("5€", ["5€"]),  # a currency sign beyond ASCII is no punctuation
        ("a\u00a0b\u2003c\u3000d\u2028e\rf", ["a", "b", "c", "d", "e", "f"]),
        ("a\u200bb\x00c\ufffdd\x07e\x0bf", ["abcdef"]),  # format and control characters vanish
        ("Ça İyi Ǆ", ["ca", "iyi", "ǆ"]),
        ("ΟΔΟΣ", ["οδος"]),  # the sigma at the end of a word, as the release has it
        ("\u0301", []),  # an accent alone
        ("漢字kana", ["漢", "字", "kana"]),
        ("かな", ["かな"]),  # Japanese syllables are not spaced
    ],
)
def test_text_is_cleaned_lowered_stripped_and_split(text: str, words: list[str]):
    assert list(split_words(text)) == words


@pytest.mark.parametrize(
    ("first", "last"),
    [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
     (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F)],
)  # fmt: skip
def test_the_blocks_of_cjk_characters_are_the_releases(first: int, last: int):
    for point in (first, last):
        if unicodedata.category(chr(point)) != "Cn":  # the last ones of some blocks are not assigned, and removed
            (spaced,) = [word for word in split_words(f"a{chr(point)}b") if word not in ("a", "b")]
            assert len(spaced) == 1
    for point in {first - 1, last + 1} - {0x2B740, 0x2B820, 0x2B73F, 0x2B81F}:  # neighbours of another block aside
        assert len(list(split_words(f"a{chr(point)}b"))) == 1, hex(point)


def test_a_word_of_a_hundred_characters_is_read_and_a_longer_one_is_unknown(tokenizer: WordPieceTokenizer):
    assert len(tokenizer.encode("a" * 100)) == 100
    assert words_of(tokenizer.encode("a" * 101)) == ["[UNK]"]


def test_text_never_yields_a_special_id(tokenizer: WordPieceTokenizer):
    assert words_of(tokenizer.encode("[MASK]")) == ["[", "mask", "]"]
    assert words_of(tokenizer.encode("[CLS]")) == ["[", "[UNK]", "]"]


def test_special_ids_are_where_the_vocabulary_has_them(tokenizer: WordPieceTokenizer):
    assert (tokenizer.special_ids.pad, tokenizer.special_ids.cls) == (0, 2)
    assert (tokenizer.special_ids.sep, tokenizer.special_ids.mask) == (3, 4)
    assert tokenizer.vocab_size == len(WORDS)
    assert tokenizer.encode_documents(["ask!"])[0].dtype == "uint16"


def test_ids_are_shown_as_words_and_joined_into_text(tokenizer: WordPieceTokenizer):
    cls, _, sep = 2, 0, 3
    assert tokenizer.decode([cls, *tokenizer.encode("Unaffable, ask"), sep]) == "unaffable [UNK] ask"
    assert tokenizer.token(6) == "##aff"


def test_a_saved_vocabulary_is_read_back_with_the_same_fingerprint(tokenizer, tmp_path, monkeypatch):
    tokenizer.save(tmp_path)
    again = WordPieceTokenizer.load(tmp_path)
    assert (tmp_path / "vocab.txt").read_text() == "\n".join(WORDS) + "\n"
    assert again.fingerprint == tokenizer.fingerprint == WordPieceTokenizer.load(tmp_path / "vocab.txt").fingerprint
    assert WordPieceTokenizer([*WORDS, "more"]).fingerprint != again.fingerprint
    monkeypatch.setattr(unicodedata, "unidata_version", "1.1")  # which decides what is an accent
    assert WordPieceTokenizer(WORDS).fingerprint != again.fingerprint


def test_a_folder_says_which_tokenizer_it_holds(tokenizer: WordPieceTokenizer, tmp_path: Path):
    Tokenizer.train(["so long, so long"], 261).save(tmp_path)
    assert isinstance(load_tokenizer(tmp_path), Tokenizer)
    assert tokenizer_file(tmp_path).name == "tokenizer.json"
    tokenizer.save(tmp_path)
    with pytest.raises(FormatError, match=r"found vocab.txt and tokenizer.json that differ; remove the file"):
        load_tokenizer(tmp_path)
    write_tokenizer_json(tmp_path)  # released folders hold both
    assert isinstance(load_tokenizer(tmp_path), WordPieceTokenizer)
    assert tokenizer_file(tmp_path).name == "vocab.txt"
    assert load_tokenizer(tmp_path / "tokenizer.json").fingerprint == tokenizer.fingerprint


def write_tokenizer_json(folder: Path, added: list[dict[str, Any]] | None = None, **model: Any) -> None:
    """WORDS as transformers 5 saves them; `model` changes its settings, those of the normalizer among them."""
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                  "lowercase": True}  # fmt: skip
    normalizer |= {name: model.pop(name) for name in [*normalizer] if name in model and name != "type"}
    vocab = {word: number for number, word in enumerate(WORDS)}
    special = [{"id": n, "content": WORDS[n], "special": True} for n in range(5)]
    content = {"added_tokens": special + (added or []), "normalizer": normalizer,
               "pre_tokenizer": {"type": "BertPreTokenizer"},
               "model": {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": vocab, **model}}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_a_tokenizer_json_alone_is_read_with_added_special_tokens(tokenizer: WordPieceTokenizer, tmp_path: Path):
    write_tokenizer_json(tmp_path, type="WordPiece", max_input_chars_per_word=100)
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint
    write_tokenizer_json(tmp_path, [{"id": len(WORDS), "content": "<E>", "special": True}])
    assert load_tokenizer(tmp_path).vocab_size == len(WORDS) + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lowercase": False}, "an uncased WordPiece with lowercase True, found lowercase False"),
        ({"strip_accents": False}, "strip_accents"),
        ({"handle_chinese_chars": False}, "handle_chinese_chars"),
        ({"max_input_chars_per_word": 200}, "max_input_chars_per_word 100, found max_input_chars_per_word 200"),
        ({"continuing_subword_prefix": "@@"}, "continuing_subword_prefix"),
        ({"vocab": {"[PAD]": 0, "a": 2}}, "each id from 0 on"),
        ({"vocab": ["[PAD]"]}, "a tokenizer.json of the tokenizers library"),
        ({"added": [{"id": 20, "content": "covid", "special": False}]}, "found words added to the vocabulary"),
    ],
)
def test_a_tokenizer_json_of_other_settings_is_refused(tmp_path: Path, changes: dict[str, Any], words: str):
    write_tokenizer_json(tmp_path, **changes)
    with pytest.raises(FormatError, match=rf"tokenizer\.json: expected .*{words}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("added_tokens.json", {"covid": 20}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"20": {"content": "covid", "special": False}}}),
    ],
)
def test_words_added_beside_a_vocabulary_are_refused(tokenizer, tmp_path, name, content):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}}})
    )
    load_tokenizer(tmp_path)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(FormatError, match=rf"{name}: expected no words added .* found 'covid'; choose"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb\n", "[CLS], [MASK], [PAD], [SEP], [UNK]"),
        ("\n".join([*WORDS, "a"]).encode(), "different words"),
        (b"\xff\n", "bad byte at 0"),
        ("\n".join([*WORDS, *map(str, range(1 << 16))]).encode(), "65,536"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(FormatError, match=r"vocab\.txt: expected .*, found .*;") as error:
        load_tokenizer(tmp_path)
    assert words in str(error.value)


def test_a_cased_vocabulary_is_refused(tokenizer: WordPieceTokenizer, tmp_path: Path):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "strip_accents": None}))
    load_tokenizer(tmp_path)
    for name in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({name: False}))
        with pytest.raises(FormatError, match=rf"{name} True .*, found False"):
            load_tokenizer(tmp_path)


def test_the_released_vocabulary_has_30522_words(real_data: Path):
    tokenizer = load_tokenizer(real_data / "tokenizers" / "bert-base-uncased-vocab.txt")
    assert (tokenizer.vocab_size, *tokenizer.special_ids) == (30_522, 0, 101, 102, 103)
    assert tokenizer.encode("Hello, world!") == [7592, 1010, 2088, 999]  # as on the models' cards


def glue_lines(data: Path) -> list[str]:
    files = sorted((data / "glue_data").rglob("*.tsv"))
    assert len(files) >= 15
    return sorted({line for file in files for line in file.read_bytes().decode().split("\n")})


def documents(data: Path) -> list[str]:
    with tarfile.open(data / "openwebtext" / "urlsf_subset00-1_data.xz") as archive:
        files = [archive.extractfile(member) for member in archive if member.isfile()]
        return [file.read().decode() for file in files if file]


@pytest.mark.oracle
@pytest.mark.parametrize("texts_of", [glue_lines, documents])
def test_ids_equal_the_ecosystems_tokenizer_on_all_glue_text_and_a_thousand_documents(real_data: Path, texts_of):
    transformers = pytest.importorskip("transformers")
    file = real_data / "tokenizers" / "bert-base-uncased-vocab.txt"
    texts = texts_of(real_data)
    assert len(texts) >= 990
    theirs = transformers.BertTokenizerFast(str(file), do_lower_case=True)
    ours = load_tokenizer(file)
    expected = theirs(texts, add_special_tokens=False, verbose=False)["input_ids"]
    assert [text for text, ids in zip(texts, expected, strict=True) if ours.encode(text) != ids] == []


@pytest.mark.oracle
def test_every_assigned_character_is_treated_as_in_the_original_python_code():
    """The ecosystem's own fast tokenizer has older Unicode tables and differs from this at 759 of them."""
    pytest.importorskip("transformers")
    try:  # where the original code lives since transformers 5
        module = importlib.import_module("transformers.models.bert.tokenization_bert_legacy")
    except ImportError:
        module = importlib.import_module("transformers.models.bert.tokenization_bert")
    theirs = module.BasicTokenizer(do_lower_case=True)
    characters = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) not in ("Cn", "Cs", "Co")]
    assert len(characters) > 140_000
    wrong = [c for c in characters[::3] if list(split_words(f"a{c}b")) != theirs.tokenize(f"a{c}b")]
    assert wrong == []
