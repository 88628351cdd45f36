"""`tokenizer.json` of the `tokenizers` library: write and read a byte-level BPE, read a WordPiece vocabulary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from electra.files import FormatError, read_json
from electra.ids import MAX_VOCAB_SIZE, SpecialIds
from electra.tokenizer import bpe

SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
UNKNOWN = "[UNK]"  # WordPiece token for a word that the vocabulary cannot spell
MAX_WORD_CHARS = 100  # a longer word becomes UNKNOWN
_NAMES = {  # names that each special token can have; if a file has several, the last in this list is used
    **{"[PAD]": ("<pad>", "[PAD]"), "[CLS]": ("<cls>", "<s>", "[CLS]")},
    **{"[SEP]": ("<sep>", "</s>", "[SEP]"), "[MASK]": ("<mask>", "[MASK]")},
}
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_UNCASED = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}


class Vocabulary(NamedTuple):
    """The parts of a byte-level BPE tokenizer.

    Attributes:
        merges: pairs of tokens, numbered as in `bpe`: 4-259 are the bytes, 260 is the first merge.
        ids: the file's id for each `bpe` number; length 4 + 256 + number of merges, the first four are unused.
        names: {id: name} of the special tokens.
    """

    merges: list[bpe.Merge]
    ids: list[int]
    names: dict[int, str]
    special: SpecialIds


def native_vocabulary(merges: Sequence[bpe.Merge]) -> Vocabulary:
    """Return a vocabulary numbered as this package does: special tokens 0-3, bytes 4-259, then the merges."""
    ids = list(range(bpe.FIRST_MERGE_ID + len(merges)))
    return Vocabulary(list(merges), ids, dict(enumerate(SPECIAL_TOKENS)), SpecialIds(0, 1, 2, 3))


def printable(token: bytes) -> str:
    """Return a token as it is written in the file: one printable character for each byte."""
    return "".join(map(bpe.BYTE_TO_CHAR.__getitem__, token))


def to_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the content of a `tokenizer.json` that the `tokenizers` library can open without changes.

    A merge is written as the string "left right", because every version of the library can read this form.
    """
    text = list(map(printable, bpe.token_bytes(vocabulary.merges)))
    of_text = zip(vocabulary.ids[bpe.NUM_SPECIAL_TOKENS :], text[bpe.NUM_SPECIAL_TOKENS :], strict=True)
    names = dict(sorted({**vocabulary.names, **dict(of_text)}.items()))
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    _, cls, sep, _ = vocabulary.special
    single = [_special(names[cls], 0), _sequence("A", 0), _special(names[sep], 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": n, "content": name, **plain, "special": True} for n, name in sorted(vocabulary.names.items())
        ],
        "normalizer": None,
        "pre_tokenizer": _BYTE_LEVEL,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, _sequence("B", 1), _special(names[sep], 1)],
            "special_tokens": {names[n]: {"id": names[n], "ids": [n], "tokens": [names[n]]} for n in (cls, sep)},
        },
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {name: n for n, name in names.items()},
            "merges": [f"{text[left]} {text[right]}" for left, right in vocabulary.merges],
        },
    }


def _special(name: str, type_id: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": type_id}}


def _sequence(name: str, type_id: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": type_id}}


def read_tokenizer_json(file: Path) -> Vocabulary | list[str]:
    """Return the vocabulary of a byte-level BPE with GPT-2's pattern, or an uncased WordPiece's words in order of id.

    Raises:
        FormatError: the file holds another kind of tokenizer, or lacks a special token.
    """
    content = read_json(file, model=dict, added_tokens=list | None)
    try:
        vocab, added = _tokens(content, file)
        model = content["model"]
        if model.get("type", "BPE" if "merges" in model else "WordPiece") == "WordPiece":
            _check_wordpiece(content, file)
            ids = {**vocab, **{name: n for n, name in added.items()}}
            _check_ids([*ids.values()], file)
            return sorted(ids, key=ids.__getitem__)
        return _bpe(content, vocab, added, file)
    except (LookupError, TypeError, AttributeError, StopIteration) as error:
        _refuse(file, "a tokenizer.json of the tokenizers library", f"{type(error).__name__} {error}")


def _refuse(file: Path, expected: str, found: str) -> NoReturn:
    raise FormatError(f"{file}: expected {expected}, found {found}; this package reads only byte-level BPE with "
                      "GPT-2's pattern, and uncased WordPiece")  # fmt: skip


def _tokens(content: Mapping[str, Any], file: Path) -> tuple[dict[str, int], dict[int, str]]:
    """Return the file's {token: id} and {id: added token}; raise FormatError if an added token is not special."""
    vocab = content["model"]["vocab"]
    added = {token["id"]: token["content"] for token in content.get("added_tokens") or []}
    if not all(type(n) is int for n in (*vocab.values(), *added)):
        _refuse(file, "whole numbers as ids", "other values")
    if plain := [token["content"] for token in content.get("added_tokens") or [] if not token.get("special")]:
        _refuse(file, "special tokens alone to be added", f"words added to the vocabulary ({plain[0]!r})")
    return vocab, added


def _check_wordpiece(content: Mapping[str, Any], file: Path) -> None:
    model, normalizer = content["model"], content.get("normalizer") or {}
    settings = {"unk_token": UNKNOWN, "continuing_subword_prefix": "##", "max_input_chars_per_word": MAX_WORD_CHARS}
    found = [(name, value, normalizer.get(name)) for name, value in _UNCASED.items()]
    found += [(name, value, model.get(name, value)) for name, value in settings.items()]
    found += [("pre_tokenizer", "BertPreTokenizer", (content.get("pre_tokenizer") or {}).get("type")),
              ("strip_accents", True, normalizer.get("strip_accents") is not False)]  # fmt: skip
    for name, expected, value in found:
        if value != expected:
            _refuse(file, f"an uncased WordPiece with {name} {expected}", f"{name} {value}")


def _bpe(content: Mapping[str, Any], vocab: Mapping[str, int], added: Mapping[int, str], file: Path) -> Vocabulary:
    _check_kind(content, file)
    merges = _numbered_merges(content["model"]["merges"], {*added.values()}, vocab, file)
    tokens = [printable(token) for token in bpe.token_bytes(merges)[bpe.NUM_SPECIAL_TOKENS :]]
    names = {**added, **{vocab[name]: name for name in vocab.keys() - {*tokens}}}
    ids = [*range(bpe.NUM_SPECIAL_TOKENS), *map(vocab.__getitem__, tokens)]
    _check_ids([*ids[bpe.NUM_SPECIAL_TOKENS :], *names], file)
    if len({*names.values(), *tokens}) < len(names) + len(tokens):
        _refuse(file, "one id a token", "a token that has two")
    return Vocabulary(merges, ids, names, _special_ids(names, file))


def _check_kind(content: Mapping[str, Any], file: Path) -> None:
    model = content["model"]
    if model.get("type", "BPE") != "BPE":
        _refuse(file, "a BPE or WordPiece model", f"a {model['type']} model")
    if content.get("normalizer") is not None:
        _refuse(file, "no normalizer", f"{content['normalizer'].get('type')}")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"):
        if model.get(key):
            _refuse(file, f"a byte-level BPE without {key}", f"{key} = {model[key]!r}")
    pre_tokenizer = content.get("pre_tokenizer") or {"type": "none"}
    *splits, last = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    if last["type"] == "ByteLevel" and last.get("add_prefix_space", True):
        _refuse(file, "no space put before a text", "add_prefix_space = true")
    split = {"type": "Split", "pattern": {"Regex": bpe.GPT2_PATTERN}, "behavior": "Isolated", "invert": False}
    uses_own_pattern = last["type"] == "ByteLevel" and last.get("use_regex", True)
    if splits != ([] if uses_own_pattern else [split]) or last["type"] != "ByteLevel":
        _refuse(file, "the GPT-2 pattern", f"the pre-tokenizer {json.dumps(pre_tokenizer):.200}")


def _numbered_merges(written: Any, added: set[str], vocab: Mapping[str, int], file: Path) -> list[bpe.Merge]:
    """Return the merges as pairs of token numbers (as `bpe` numbers tokens) instead of pairs of strings."""
    if missing := sum(char not in vocab for char in bpe.BYTE_TO_CHAR):
        _refuse(file, "a token for each of the 256 bytes", f"{missing} missing")
    numbers = {printable(bytes([byte])): bpe.NUM_SPECIAL_TOKENS + n for n, byte in enumerate(bpe.BYTES_IN_ID_ORDER)}
    merges: list[bpe.Merge] = []
    for rank, merge in enumerate(written):
        left, _, right = merge.partition(" ") if isinstance(merge, str) else (merge[0], "", merge[1])
        if left not in numbers or right not in numbers or left + right in numbers or left + right in added:
            _refuse(file, "merges of tokens made before, each made once", f"merge {rank} of {left!r} and {right!r}")
        merges.append((numbers[left], numbers[right]))
        numbers[left + right] = bpe.FIRST_MERGE_ID + rank
    return merges


def _check_ids(ids: Sequence[int], file: Path) -> None:
    if sorted(ids) != list(range(len(ids))):
        _refuse(file, "each id from 0 on to be one token", f"{len(ids):,} tokens with ids up to {max(ids):,}")
    if len(ids) > MAX_VOCAB_SIZE:
        _refuse(file, f"at most {MAX_VOCAB_SIZE:,} ids (16 bits)", f"{len(ids):,}")


def _special_ids(names: Mapping[int, str], file: Path) -> SpecialIds:
    id_of = {name: n for n, name in names.items()}
    found = {token: id_of[name] for token, known in _NAMES.items() for name in known if name in id_of}
    if missing := [token for token in SPECIAL_TOKENS if token not in found]:
        _refuse(file, "the special tokens [PAD], [CLS], [SEP] and [MASK]", f"no {', '.join(missing)}")
    return SpecialIds(*found.values())
