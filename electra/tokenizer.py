"""Text to ids and back: special tokens, caches, `tokenizer.json`, fingerprint.

Our native file is the ecosystem's own `tokenizer.json`, so the `tokenizers` library opens it as it stands.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from electra import bpe
from electra.bpe_batch import MAX_CHUNK_BYTES, BatchMerger
from electra.bpe_trainer import MIN_COUNT, ChunkCounter, Progress, learn_merges
from electra.files import FormatError, read_json, write_json
from electra.tokenizer_json import SPECIAL_TOKENS, Vocabulary, from_json, native_vocabulary, to_json
from electra.word_table import MAX_WORD_BYTES, Ragged, Words, WordTable, cut_words

__all__ = ["FILE_NAME", "ID_DTYPE", "SPECIAL_TOKENS", "SpecialIds", "Tokenizer"]

FILE_NAME = "tokenizer.json"
ID_DTYPE = np.dtype("<u2")
MIN_VOCAB_SIZE = bpe.FIRST_MERGE_ID
CACHED_CHUNKS = 1 << 18  # about 50 MB when full
_MAX_CACHED_CHARS = 64  # of one chunk; longer ones seldom come back
_MIN_BATCH = 100  # new chunks from which merging them together pays


class SpecialIds(NamedTuple):
    """The ids a model treats apart; plain text never yields one of them."""

    pad: int
    cls: int
    sep: int
    mask: int


class Tokenizer:
    """A byte-level BPE tokenizer: cased, no normalisation, no prefix space; every string round-trips.

    Attributes:
        vocab_size: number of ids, special tokens included.
        special_ids: the ids of [PAD], [CLS], [SEP] and [MASK].
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.special_ids = SpecialIds(*vocabulary.special)
        self.vocab_size = len(vocabulary.names) + len(vocabulary.ids) - bpe.NUM_SPECIAL_TOKENS
        self._file_ids = np.array(vocabulary.ids, ID_DTYPE)
        self._merges = bpe.MergeTable(vocabulary.merges)
        self._tokens = [b""] * self.vocab_size
        for token_id, token in list(zip(vocabulary.ids, self._merges.tokens, strict=True))[bpe.NUM_SPECIAL_TOKENS :]:
            self._tokens[token_id] = token
        self._batch_merger = BatchMerger(vocabulary.merges)
        self._chunks: dict[str, bytes] = {}  # the ids of chunks seen before, at most CACHED_CHUNKS
        self._table = WordTable()
        self._ids_of_word = Ragged.empty(ID_DTYPE)

    @classmethod
    def from_merges(cls, merges: Sequence[bpe.Merge]) -> Tokenizer:
        """Our own tokenizer with these merges."""
        return cls(native_vocabulary(merges))

    @classmethod
    def train(
        cls,
        documents: Iterable[str],
        vocab_size: int,
        *,
        min_count: int = MIN_COUNT,
        progress: Progress | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer from documents in this process (`prepare` does it in many).

        Raises:
            ValueError: `vocab_size` is outside 260 ... 65,536.
        """
        num_merges = count_merges(vocab_size)
        counter = ChunkCounter()
        for texts in group_texts(documents):
            counter.add(texts)
        return cls.from_merges(learn_merges(counter.chunks(), num_merges, min_count=min_count, progress=progress))

    def encode(self, text: str) -> list[int]:
        """The ids of a text: never a special one, whatever the text says.

        Raises:
            ValueError: the text holds a lone surrogate, which has no UTF-8.
        """
        return np.frombuffer(self.encode_to_bytes(text), ID_DTYPE).tolist()

    def encode_to_array(self, text: str) -> npt.NDArray[np.uint16]:
        """The ids of a text as a read-only uint16 array."""
        return np.frombuffer(self.encode_to_bytes(text), ID_DTYPE)

    def encode_to_bytes(self, text: str) -> bytes:
        """The ids of a text as little-endian 16-bit integers."""
        with _naming_surrogates([text]):
            return b"".join(self._encode_chunks(bpe.split_text(text)))

    def encode_documents(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
        """The ids of many texts, the fast way: some MB at a time are best.

        Returns:
            All ids one after the other, and where each text ends among them.
        """
        with _naming_surrogates(texts):
            all_words = cut_words(texts)
        encoded = [self._encode_words(words) for words in all_words.batches()]
        ids = np.concatenate([np.empty(0, ID_DTYPE), *(part.values for part in encoded)])
        word_ends = np.cumsum(np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in encoded)]))
        return ids, word_ends[all_words.document_ends]

    def _encode_words(self, words: Words) -> Ragged:
        """The ids of each word: those of the table are kept from one call to the next."""
        if self._table.is_full():
            self._table.clear()
            self._ids_of_word = Ragged.empty(ID_DTYPE)
        is_short = words.lengths <= MAX_WORD_BYTES
        short_words = words.select(is_short)
        numbers = np.empty(len(words.lengths), np.int64)
        numbers[is_short], new = self._table.number(short_words)
        self._ids_of_word = Ragged.joined([self._ids_of_word, self._encode_new(short_words.select(new).texts())])
        long_words = self._encode_new(words.select(~is_short).texts())
        numbers[~is_short] = self._table.num_words + np.arange(len(long_words.lengths))
        return Ragged.joined([self._ids_of_word, long_words]).take(numbers)

    def _encode_new(self, words: list[bytes]) -> Ragged:
        chunks, chunk_ends = bpe.split_words(words)
        encoded = self._encode_chunks(chunks)
        ends = np.cumsum([0, *map(len, encoded)])[chunk_ends] // ID_DTYPE.itemsize
        return Ragged(np.frombuffer(b"".join(encoded), ID_DTYPE), np.diff(ends, prepend=0))

    def _encode_chunks(self, chunks: list[str]) -> list[bytes]:
        """The ids of each chunk, as bytes: a dictionary hit never leaves C."""
        known = list(map(self._chunks.get, chunks))
        if None not in known:
            return cast(list[bytes], known)
        unknown = dict.fromkeys(chunk for chunk, ids in zip(chunks, known, strict=True) if ids is None)
        new = self._encode_unknown(list(unknown))
        if len(self._chunks) < CACHED_CHUNKS:
            self._chunks |= {chunk: ids for chunk, ids in new.items() if len(chunk) <= _MAX_CACHED_CHARS}
        return [new[chunk] if ids is None else ids for chunk, ids in zip(chunks, known, strict=True)]

    def _encode_unknown(self, chunks: list[str]) -> dict[str, bytes]:
        data = [chunk.encode() for chunk in chunks]
        if len(chunks) < _MIN_BATCH:
            return {chunk: self._merge(part) for chunk, part in zip(chunks, data, strict=True)}
        short = {chunk: part for chunk, part in zip(chunks, data, strict=True) if len(part) <= MAX_CHUNK_BYTES}
        rows = self._batch_merger.encode(list(short.values()))
        ids, ends = self._file_ids[rows.values].tobytes(), np.cumsum(rows.lengths * ID_DTYPE.itemsize).tolist()
        found = {chunk: ids[start:end] for chunk, start, end in zip(short, [0, *ends], ends, strict=False)}
        return found | {chunk: self._merge(chunk.encode()) for chunk in chunks if chunk not in short}

    def _merge(self, chunk: bytes) -> bytes:
        return self._file_ids[self._merges.encode(chunk)].tobytes()

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of bytes that need not be UTF-8; those that are not are split like punctuation."""
        try:
            return self.encode(data.decode())
        except UnicodeDecodeError:
            chunks = bpe.split_text(data.decode("utf-8", "surrogateescape"))
            encoded = b"".join(self._merge(chunk.encode("utf-8", "surrogateescape")) for chunk in chunks)
            return np.frombuffer(encoded, ID_DTYPE).tolist()

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that ids stand for; special ids stand for none."""
        return b"".join(map(self._tokens.__getitem__, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text that ids stand for, without special tokens; bytes that are not UTF-8 show as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def token(self, token_id: int) -> str:
        """One id as a person reads it: its text, or the name of a special token."""
        name = self._vocabulary.names.get(int(token_id))
        return self._tokens[token_id].decode("utf-8", "replace") if name is None else name

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides ids: the vocabulary, the pattern, and how `regex` classifies characters."""
        content = [*self._vocabulary[:2], sorted(self._vocabulary.names.items()), self.special_ids, bpe.split_digest()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write `tokenizer.json` (to a folder, or under the name given), complete or not at all."""
        write_json(path / FILE_NAME if path.is_dir() else path, to_json(self._vocabulary))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a `tokenizer.json`, or the one in a folder: ours, or any byte-level BPE with GPT-2's pattern.

        Raises:
            FileNotFoundError: there is none.
            FormatError: it is another kind of tokenizer, or lacks what a model needs.
        """
        file = path / FILE_NAME if path.is_dir() else path
        if not file.exists():
            raise FileNotFoundError(f"{file}: expected a tokenizer, found nothing; check the path")
        try:
            return cls(from_json(read_json(file), file))
        except FormatError:
            raise
        except ValueError as error:
            raise FormatError(f"{file}: {error}; train a tokenizer with python -m electra prepare") from None


def count_merges(vocab_size: int) -> int:
    """How many merges a vocabulary of this size has.

    Raises:
        ValueError: the size is outside 260 ... 65,536.
    """
    if not MIN_VOCAB_SIZE <= vocab_size <= bpe.MAX_VOCAB_SIZE:
        expected = f"{MIN_VOCAB_SIZE} (special tokens and bytes) to {bpe.MAX_VOCAB_SIZE:,} (16 bits)"
        raise ValueError(f"--vocab-size: expected {expected}, found {vocab_size:,}; choose one in that range")
    return vocab_size - MIN_VOCAB_SIZE


def group_texts(texts: Iterable[str], num_chars: int = 1 << 20) -> Iterator[list[str]]:
    """Texts in groups that are worth handling together: each reaches `num_chars`, but for the last."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= num_chars:
            yield group
            group, size = [], 0
    if group:
        yield group


@contextlib.contextmanager
def _naming_surrogates(texts: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError:
        text, place = next((text, n) for text in texts for n, char in enumerate(text) if "\ud800" <= char <= "\udfff")
        found = f"the lone surrogate U+{ord(text[place]):04X} at character {place:,}"
        raise ValueError(f"text: expected Unicode text, found {found}; replace it") from None
