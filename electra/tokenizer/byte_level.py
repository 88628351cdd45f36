"""The byte-level BPE tokenizer: turns text into ids and back, and reads and writes its file.

The file is a `tokenizer.json` that the `tokenizers` library can open.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from electra.files import FormatError, write_json
from electra.ids import ID_DTYPE, MAX_VOCAB_SIZE, Ids, SpecialIds
from electra.tokenizer import bpe
from electra.tokenizer.count import ChunkCounter
from electra.tokenizer.json_format import SPECIAL_TOKENS, Vocabulary, native_vocabulary, read_tokenizer_json, to_json
from electra.tokenizer.train import learn
from electra.tokenizer.words import find_words

__all__ = ["FILE_NAME", "SPECIAL_TOKENS", "SpecialIds", "Tokenizer"]

Item = TypeVar("Item")

FILE_NAME = "tokenizer.json"
MIN_VOCAB_SIZE = bpe.FIRST_MERGE_ID
_MAX_CACHED = 1 << 19  # words, and as many chunks
_MAX_CACHED_CHARS = 64  # length of a chunk; longer chunks rarely occur again


class Tokenizer:
    """Turns text into ids with byte-level BPE, and back without loss: no change of case, normalisation or added space.

    Attributes:
        vocab_size: number of ids, special tokens included.
        special_ids: the ids of [PAD], [CLS], [SEP] and [MASK].
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.special_ids = vocabulary.special
        self.vocab_size = len(vocabulary.names) + len(vocabulary.ids) - bpe.NUM_SPECIAL_TOKENS
        self._id_of_pair = bpe.index_merges(vocabulary.merges)
        self._ids = np.array(vocabulary.ids, ID_DTYPE)
        self._encode_chunk = functools.lru_cache(_MAX_CACHED)(self._encode_new_chunk)
        self._encode_word = functools.lru_cache(_MAX_CACHED)(self._encode)
        self._tokens = [b""] * self.vocab_size
        for token_id, token in zip(vocabulary.ids, bpe.token_bytes(vocabulary.merges), strict=True):
            if token:
                self._tokens[token_id] = token

    @classmethod
    def from_merges(cls, merges: Sequence[bpe.Merge]) -> Tokenizer:
        """Return a tokenizer with these merges; the pairs hold ids in the numbering of `bpe`."""
        return cls(native_vocabulary(merges))

    @classmethod
    def train(cls, documents: Iterable[str], vocab_size: int) -> Tokenizer:
        """Learn a tokenizer from documents, in this process only; `prepare` can use several processes."""
        num_merges = count_merges(vocab_size)
        counter = ChunkCounter()
        for texts in group_texts(documents):
            counter.add(texts)
        return cls.from_merges(learn(counter.take(), num_merges).merges)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens; the text "[MASK]" is encoded like any other text.

        Raises:
            UnicodeEncodeError: the text contains a lone surrogate, which UTF-8 cannot write.
        """
        return np.frombuffer(self._encode(text), ID_DTYPE).tolist()

    def encode_documents(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text as a read-only uint16 array. Faster than `encode` for a megabyte or more."""
        words = find_words(texts)
        ids_of_word = [(self._encode_word if len(w) <= _MAX_CACHED_CHARS else self._encode)(w) for w in words.distinct]
        ids = list(map(ids_of_word.__getitem__, words.numbers.tolist()))
        spans = itertools.pairwise([0, *words.document_ends.tolist()])
        return [np.frombuffer(b"".join(ids[start:end]), ID_DTYPE) for start, end in spans]

    def _encode(self, text: str) -> bytes:
        return b"".join(
            [
                self._encode_chunk(chunk) if len(chunk) <= _MAX_CACHED_CHARS else self._encode_new_chunk(chunk)
                for chunk in bpe.split_text(text)
            ]
        )

    def _encode_new_chunk(self, chunk: str) -> bytes:
        return self._ids[bpe.encode_chunk(chunk.encode(), self._id_of_pair)].tobytes()

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of a sequence of ids; special ids have no bytes."""
        return b"".join(map(self._tokens.__getitem__, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of a sequence of ids, without special tokens; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def token(self, token_id: int) -> str:
        """Return the text of one id, or its name if the id is a special token."""
        name = self._vocabulary.names.get(int(token_id))
        return self._tokens[token_id].decode("utf-8", "replace") if name is None else name

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of everything that affects the ids: vocabulary, pattern, `regex`'s character classes."""
        content = [*self._vocabulary[:2], sorted(self._vocabulary.names.items()), self.special_ids, bpe.split_digest()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write `tokenizer.json` if `path` is a folder, or the file `path`. A failed write leaves no partial file."""
        write_json(path / FILE_NAME if path.is_dir() else path, to_json(self._vocabulary))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a file, or the `tokenizer.json` of a folder: any byte-level BPE with GPT-2's pattern.

        Raises:
            FileNotFoundError: there is no such file.
            FormatError: the file holds another kind of tokenizer, or lacks a special token.
        """
        file = path / FILE_NAME if path.is_dir() else path
        if not file.exists():
            raise FileNotFoundError(f"{file}: expected a tokenizer, found nothing; check the path")
        vocabulary = read_tokenizer_json(file)
        if not isinstance(vocabulary, Vocabulary):
            raise FormatError(f"{file}: expected a byte-level BPE, found a WordPiece; use load_tokenizer")
        return cls(vocabulary)


def count_merges(vocab_size: int) -> int:
    """Return the number of merges in a vocabulary of `vocab_size` ids.

    Raises:
        ValueError: the size is outside 260 ... 65,536.
    """
    if not MIN_VOCAB_SIZE <= vocab_size <= MAX_VOCAB_SIZE:
        expected = f"{MIN_VOCAB_SIZE} (special tokens and bytes) to {MAX_VOCAB_SIZE:,} (16 bits)"
        raise ValueError(f"--vocab-size: expected {expected}, found {vocab_size:,}; choose one in that range")
    return vocab_size - MIN_VOCAB_SIZE


def group_texts(texts: Iterable[str], num_chars: int = 1 << 23) -> Iterator[list[str]]:
    """Yield groups of consecutive texts with `num_chars` characters or more; the last group may have fewer."""
    return group_by_size(texts, len, num_chars)


def group_by_size(items: Iterable[Item], size_of: Callable[[Item], int], least: int) -> Iterator[list[Item]]:
    """Yield groups of consecutive items; the sizes in a group add up to `least` or more, except in the last group."""
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += size_of(item)
        if size >= least:
            yield group
            group, size = [], 0
    if group:
        yield group
