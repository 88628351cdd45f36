"""Text to ids, fast: what has been seen before is looked up, all that is new is merged together.

Two memories, both bounded: ids of words in arrays (`word_table`, some 40 MB when full, then begun anew), and ids of
chunks in a dictionary (some 50 MB when full, then left as it is). Neither changes any id.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from electra.ids import ID_DTYPE, Ids
from electra.tokenizer import bpe
from electra.tokenizer.batch_merge import MAX_CHUNK_BYTES, BatchMerger
from electra.tokenizer.words import MAX_WORD_BYTES, MAX_WORDS, Ragged, Words, WordTable, cut_words

CACHED_CHUNKS = 1 << 18
_MAX_CACHED_CHARS = 64  # of one chunk; longer ones seldom come back
_MIN_BATCH = 100  # new chunks from which merging them together pays


class TextEncoder:
    """Applies merges to texts.

    Args:
        merges: numbered as in `bpe`.
        ids: the id that stands for each of these numbers; shape (4 + 256 + merges,).
    """

    def __init__(
        self,
        merges: Sequence[bpe.Merge],
        ids: Sequence[int],
        *,
        max_words: int = MAX_WORDS,
        max_chunks: int = CACHED_CHUNKS,
    ) -> None:
        self._merges, self._batch_merger = bpe.MergeTable(merges), BatchMerger(merges)
        self._ids = np.array(ids, ID_DTYPE)
        self._max_chunks = max_chunks
        self._chunks: dict[str, bytes] = {}
        self._table = WordTable(max_words)
        self._ids_of_word = Ragged.empty(ID_DTYPE)

    def encode(self, text: str) -> bytes:
        """The ids of one text as little-endian 16-bit integers.

        Raises:
            ValueError: the text holds a lone surrogate, which has no UTF-8.
        """
        with _naming_surrogates([text]):
            return b"".join(self._encode_chunks(bpe.split_text(text)))

    def encode_any(self, data: bytes) -> bytes:
        """The ids of bytes that need not be UTF-8; those that are not are split like punctuation."""
        chunks = bpe.split_text(data.decode("utf-8", "surrogateescape"))
        return b"".join(self._merge(chunk.encode("utf-8", "surrogateescape")) for chunk in chunks)

    def encode_documents(self, texts: Sequence[str]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """The ids of many texts one after the other, and where each text ends among them.

        Raises:
            ValueError: as for `encode`.
        """
        with _naming_surrogates(texts):
            all_words = cut_words(texts)
        encoded = [self._encode_words(words) for words in all_words.batches()]
        rows = Ragged.joined([Ragged.empty(ID_DTYPE), *encoded])
        return rows.values, np.cumsum(np.append(0, rows.lengths))[all_words.document_ends]

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
        if len(self._chunks) < self._max_chunks:
            self._chunks |= {chunk: ids for chunk, ids in new.items() if len(chunk) <= _MAX_CACHED_CHARS}
        return [new[chunk] if ids is None else ids for chunk, ids in zip(chunks, known, strict=True)]

    def _encode_unknown(self, chunks: list[str]) -> dict[str, bytes]:
        data = [chunk.encode() for chunk in chunks]
        if len(chunks) < _MIN_BATCH:
            return {chunk: self._merge(part) for chunk, part in zip(chunks, data, strict=True)}
        short = {chunk: part for chunk, part in zip(chunks, data, strict=True) if len(part) <= MAX_CHUNK_BYTES}
        rows = self._batch_merger.encode(list(short.values()))
        ids, ends = self._ids[rows.values].tobytes(), np.cumsum(rows.lengths * ID_DTYPE.itemsize).tolist()
        found = {chunk: ids[start:end] for chunk, start, end in zip(short, [0, *ends], ends, strict=False)}
        return found | {chunk: self._merge(chunk.encode()) for chunk in chunks if chunk not in short}

    def _merge(self, chunk: bytes) -> bytes:
        return self._ids[self._merges.encode(chunk)].tobytes()


@contextlib.contextmanager
def _naming_surrogates(texts: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError:
        text, place = next((text, n) for text in texts for n, char in enumerate(text) if "\ud800" <= char <= "\udfff")
        found = f"the lone surrogate U+{ord(text[place]):04X} at character {place:,}"
        raise ValueError(f"text: expected Unicode text, found {found}; replace it") from None
