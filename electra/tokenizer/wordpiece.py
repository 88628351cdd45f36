"""The release's uncased WordPiece tokenizer, read from a `vocab.txt`, for use with the released models.

Source: release model/tokenization.py. Departs: words longer than 100 characters are [UNK] (the release allows 200),
as in the tokenizer that transformers uses for the released models.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from electra.files import FormatError, atomic_write, model_folder, read_json
from electra.ids import ID_DTYPE, MAX_VOCAB_SIZE, Ids, SpecialIds
from electra.tokenizer.byte_level import FILE_NAME, SPECIAL_TOKENS, Tokenizer
from electra.tokenizer.json_format import MAX_WORD_CHARS, UNKNOWN, read_tokenizer_json

VOCAB_NAME = "vocab.txt"
_SPACES = re.compile("[ \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_CJK_BLOCKS = (
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0xF900, 0xFB00),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2CEB0),
    range(0x2F800, 0x2FA20),
)
_MAX_CACHED_RUNS = 1 << 18


def _is_removed(char: str) -> bool:
    """Return whether a character is removed: Unicode categories C* (control, unassigned, ...) and U+FFFD."""
    return char == "\ufffd" or unicodedata.category(char).startswith("C")


def _is_cjk(char: str) -> bool:
    return any(ord(char) in block for block in _CJK_BLOCKS)


def _is_punctuation(char: str) -> bool:
    """Return whether a character is Unicode punctuation, or printable ASCII but not a letter or digit."""
    return (char.isascii() and char.isprintable() and not char.isalnum()) or unicodedata.category(char).startswith("P")


def _without_accents(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")


def split_words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case, without accents. Each punctuation mark or CJK character is one word.

    Source: release tokenization.py, BasicTokenizer.
    """
    kept = "".join(f" {c} " if _is_cjk(c) else c for c in _SPACES.sub(" ", text) if not _is_removed(c))
    for run in kept.split():
        start = 0
        run = _without_accents(run.lower())
        for end, char in enumerate(run):
            if _is_punctuation(char):
                yield from filter(None, (run[start:end], char))
                start = end + 1
        yield from filter(None, (run[start:],))


class WordPieceTokenizer:
    """Turns text into ids with a WordPiece vocabulary, and back. Upper case, accents and spacing are lost.

    Attributes:
        vocab_size: number of ids, special tokens included.
        special_ids: the ids of [PAD], [CLS], [SEP] and [MASK].
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._ids = {word: number for number, word in enumerate(words)}
        self._encode_run = functools.lru_cache(_MAX_CACHED_RUNS)(self._encode_new_run)
        self.vocab_size = len(words)
        self.special_ids = SpecialIds(*map(self._ids.__getitem__, SPECIAL_TOKENS))

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text: [UNK] for an unknown word; never [PAD], [CLS], [SEP] or [MASK]."""
        return self.encode_documents([text])[0].tolist()

    def encode_documents(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text as a read-only uint16 array."""
        encoded = (b"".join(map(self._encode_run, _SPACES.split(text))) for text in texts)
        return [np.frombuffer(ids, ID_DTYPE) for ids in encoded]

    def _encode_new_run(self, run: str) -> bytes:
        ids = [number for word in split_words(run) for number in self._pieces(word)]
        return np.array(ids, ID_DTYPE).tobytes()

    def _pieces(self, word: str) -> list[int]:
        """Return the ids of a word, cut from the left into longest known pieces; [UNK] if it is too long or none fits.

        Source: release tokenization.py, WordpieceTokenizer.
        """
        unknown = [self._ids[UNKNOWN]]
        if len(word) > MAX_WORD_CHARS:
            return unknown
        ids: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self._ids), None)
            if end is None:
                return unknown
            ids.append(self._ids[prefix + word[start:end]])
            start = end
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of a sequence of ids: words joined by spaces, without special tokens (but with [UNK])."""
        words = (self._words[number] for number in ids if number not in self.special_ids)
        return " ".join(words).replace(" ##", "")

    def token(self, token_id: int) -> str:
        """Return one id as it is written in the vocabulary; "##" marks a piece that continues a word."""
        return self._words[token_id]

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of everything that affects the ids of a text: the words, and Python's version of Unicode."""
        content = ["wordpiece", MAX_WORD_CHARS, unicodedata.unidata_version, self._words]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write `vocab.txt` if `path` is a folder, or the file `path`. A failed write leaves no partial file."""
        with atomic_write(path / VOCAB_NAME if path.is_dir() else path) as file:
            file.write("".join(f"{word}\n" for word in self._words).encode())

    @classmethod
    def load(cls, path: Path) -> WordPieceTokenizer:
        """Read a vocabulary file, or the `vocab.txt` of a folder.

        Raises:
            FileNotFoundError: there is no such file.
            FormatError: the file is not an uncased vocabulary.
        """
        file = path / VOCAB_NAME if path.is_dir() else path
        try:
            words = [line.strip() for line in file.read_bytes().decode().removesuffix("\n").split("\n")]
        except UnicodeDecodeError as error:
            raise FormatError(f"{file}: expected UTF-8, found a bad byte at {error.start}; restore the file") from None
        return cls._checked(words, file)

    @classmethod
    def _checked(cls, words: Sequence[str], file: Path) -> WordPieceTokenizer:
        _check_settings(file.parent)
        if missing := sorted({*SPECIAL_TOKENS, UNKNOWN} - {*words}):
            expected = f"one word a line with {', '.join(missing)}"
            raise FormatError(f"{file}: expected {expected}, found no such line; name a WordPiece vocabulary")
        if len(words) > MAX_VOCAB_SIZE or len({*words}) < len(words):
            found = f"{len(words):,} words, {len({*words}):,} of them different"
            expected = f"at most {MAX_VOCAB_SIZE:,} different words"
            raise FormatError(f"{file}: expected {expected}, found {found}; name another vocabulary")
        return cls(words)


def _check_settings(folder: Path) -> None:
    """Raise FormatError if the folder's settings are not those of uncased WordPiece, or add words to the vocabulary."""
    config, added = folder / "tokenizer_config.json", folder / "added_tokens.json"
    settings = read_json(config, added_tokens_decoder=dict | None) if config.exists() else {}
    for name in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        if settings.get(name, True) not in (True, None):
            expected = f"{name} True (only uncased WordPiece is supported)"
            raise FormatError(f"{config}: expected {expected}, found {settings[name]}; choose an uncased model")
    words = [*read_json(added)] if added.exists() else []
    for token in (settings.get("added_tokens_decoder") or {}).values():
        if not isinstance(token, dict) or not token.get("special"):
            words.append(token.get("content", "") if isinstance(token, dict) else str(token))
    if words:
        file = added if added.exists() else config
        expected = "no words added to the vocabulary"
        raise FormatError(f"{file}: expected {expected}, found {words[0]!r}; choose a model without added words")


def tokenizer_file(path: Path) -> Path:
    """Return the tokenizer's file: `path`; if `path` is a folder, its vocab.txt, or without one its tokenizer.json."""
    if not path.is_dir():
        return path
    return path / VOCAB_NAME if (path / VOCAB_NAME).exists() else path / FILE_NAME


AnyTokenizer = Tokenizer | WordPieceTokenizer


def load_tokenizer(path: Path) -> AnyTokenizer:
    """Read a tokenizer from a file, a folder or a shipped model's name: WordPiece or byte-level BPE.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is damaged or another kind of tokenizer, or the folder has two files that differ.
    """
    file = tokenizer_file(path := model_folder(path))
    if file.suffix == ".txt":
        tokenizer = WordPieceTokenizer.load(file)
        other = path / FILE_NAME
        if path.is_dir() and other.exists() and load_tokenizer(other).fingerprint != tokenizer.fingerprint:
            remedy = "remove the file that the model was not trained with"
            found = f"{VOCAB_NAME} and {FILE_NAME} that differ"
            raise FormatError(f"{path}: expected one tokenizer, found {found}; {remedy}")
        return tokenizer
    words = read_tokenizer_json(file) if file.exists() else None
    return WordPieceTokenizer._checked(words, file) if isinstance(words, list) else Tokenizer.load(file)
