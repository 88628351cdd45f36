"""Text to ids and back: special tokens, `tokenizer.json`, fingerprint.

Our native file is the ecosystem's own `tokenizer.json`, so the `tokenizers` library opens it as it stands.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import regex

from electra import bpe
from electra.files import FormatError, read_json, write_json

FILE_NAME = "tokenizer.json"
ID_DTYPE = np.dtype("<u2")
SPECIAL_TOKENS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")  # ids 0-3
MIN_VOCAB_SIZE = bpe.FIRST_MERGE_ID


class SpecialIds(NamedTuple):
    """The ids a model treats apart; plain text never yields one of them."""

    pad: int
    cls: int
    sep: int
    mask: int


class _Cache(dict[str, bytes]):
    """Encoded pieces of text: filled by `__missing__`, so that a hit never leaves C."""

    def __init__(self, encode: Any, max_entries: int, max_key: int) -> None:
        self._encode, self._max_entries, self._max_key = encode, max_entries, max_key

    def __missing__(self, piece: str) -> bytes:
        encoded: bytes = self._encode(piece)
        if len(self) < self._max_entries and len(piece) <= self._max_key:
            self[piece] = encoded
        return encoded


class Tokenizer:
    """A byte-level BPE tokenizer: cased, no normalisation, no prefix space; every string round-trips.

    Attributes:
        vocab_size: number of ids, special tokens included.
        special_ids: the ids of [PAD], [CLS], [SEP] and [MASK].
    """

    def __init__(self, merges: Sequence[bpe.Merge]) -> None:
        tokens = [b""] * bpe.NUM_SPECIAL_TOKENS + [bytes([byte]) for byte in bpe.ID_TO_BYTE]
        for left, right in merges:
            tokens.append(tokens[left] + tokens[right])
        self.merges = list(merges)
        self.special_ids = SpecialIds(0, 1, 2, 3)
        self.vocab_size = len(tokens)
        self._tokens = tokens
        self._ranks = {
            chr(left) + chr(right): (rank, chr(bpe.FIRST_MERGE_ID + rank)) for rank, (left, right) in enumerate(merges)
        }
        self._chunks = _Cache(self._encode_chunk, 1 << 18, 64)
        self._words = _Cache(self._encode_word, 1 << 18, 64)

    @classmethod
    def train(
        cls,
        documents: Iterable[str],
        vocab_size: int,
        *,
        min_count: int = bpe.MIN_COUNT,
        progress: bpe.Progress | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer from documents in this process (`prepare` does it in many)."""
        counts = bpe.Counter[str]()
        for text in documents:
            counts.update(bpe.split_words(text))
        return cls.from_counts(bpe.count_chunks(counts), vocab_size, min_count=min_count, progress=progress)

    @classmethod
    def from_counts(
        cls,
        chunk_counts: Mapping[str, int],
        vocab_size: int,
        *,
        min_count: int = bpe.MIN_COUNT,
        progress: bpe.Progress | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer from counts of chunks.

        Raises:
            ValueError: `vocab_size` is outside 260 ... 65,536.
        """
        if not MIN_VOCAB_SIZE <= vocab_size <= bpe.MAX_VOCAB_SIZE:
            raise ValueError(
                f"vocab_size: expected {MIN_VOCAB_SIZE:,} (specials and bytes) to {bpe.MAX_VOCAB_SIZE:,} (16 bits), "
                f"found {vocab_size:,}; choose one in that range"
            )
        return cls(
            bpe.learn_merges(chunk_counts, vocab_size - MIN_VOCAB_SIZE, min_count=min_count, progress=progress)
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text: never a special one, whatever the text says."""
        return self.encode_to_array(text).tolist()

    def encode_to_array(self, text: str) -> npt.NDArray[np.uint16]:
        """The ids of a text as a read-only uint16 array.

        Raises:
            ValueError: the text holds a lone surrogate, which has no UTF-8.
        """
        return np.frombuffer(self.encode_to_bytes(text), ID_DTYPE)

    def encode_to_bytes(self, text: str) -> bytes:
        """The ids of a text as little-endian 16-bit integers."""
        return b"".join(map(self._words.__getitem__, bpe.split_words(text)))

    def _encode_word(self, word: str) -> bytes:
        return b"".join(map(self._chunks.__getitem__, bpe.split_text(word)))

    def _encode_chunk(self, chunk: str) -> bytes:
        return bpe.apply_merges(bpe.byte_ids(chunk.encode()), self._ranks).encode("utf-16-le", "surrogatepass")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that ids stand for; special ids stand for none."""
        tokens = self._tokens
        return b"".join(tokens[token_id] for token_id in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for, without special tokens; bytes that are not UTF-8 show as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def token(self, token_id: int) -> str:
        """One id as a person reads it: its text, or the name of a special token."""
        if token_id < bpe.NUM_SPECIAL_TOKENS:
            return SPECIAL_TOKENS[token_id]
        return self._tokens[token_id].decode("utf-8", "replace")

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides ids: specials, pattern, merges, and the version of the `regex` engine."""
        content = [SPECIAL_TOKENS, bpe.GPT2_PATTERN, regex.__version__, self.merges]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write `tokenizer.json` (to a folder, or under the name given), complete or not at all."""
        write_json(path / FILE_NAME if path.is_dir() else path, _to_json(self))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a `tokenizer.json`, or the one in a folder.

        Raises:
            FileNotFoundError: there is none.
            FormatError: it is not a byte-level BPE with GPT-2's pattern.
        """
        file = path / FILE_NAME if path.is_dir() else path
        return cls(_merges_from_json(file, read_json(file)))


def _printable(token: bytes) -> str:
    return "".join(map(bpe.BYTE_TO_CHAR.__getitem__, token))


def _to_json(tokenizer: Tokenizer) -> dict[str, Any]:
    names = [*SPECIAL_TOKENS, *map(_printable, tokenizer._tokens[bpe.NUM_SPECIAL_TOKENS :])]
    cls, sep = tokenizer.special_ids.cls, tokenizer.special_ids.sep

    def special(token_id: int, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": names[token_id], "type_id": type_id}}

    def text(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [special(cls, 0), text("A", 0), special(sep, 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": n,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for n, name in enumerate(SPECIAL_TOKENS)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, text("B", 1), special(sep, 1)],
            "special_tokens": {
                names[n]: {"id": names[n], "ids": [n], "tokens": [names[n]]} for n in (cls, sep)
            },
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {name: n for n, name in enumerate(names)},
            "merges": [f"{names[left]} {names[right]}" for left, right in tokenizer.merges],
        },
    }


def _merges_from_json(file: Path, content: Any) -> list[bpe.Merge]:
    try:
        vocab = content["model"]["vocab"]
        return [(vocab[left], vocab[right]) for left, right in (pair.split(" ") for pair in content["model"]["merges"])]
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{file}: expected a byte-level BPE tokenizer.json, found none ({error}); ...") from None
