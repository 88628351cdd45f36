"""The words of many documents at once: cut out of their bytes and numbered, in arrays.

Most text is words seen before. Looking each up in a dictionary costs a Python object and three cache misses a
word; here all words of a batch are hashed and compared together, at some 60 ns a word, and each distinct word has
a number by which counts or ids are kept in arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]

MAX_WORD_BYTES = 15  # a word and its length fit in two 64-bit integers, so equal keys are equal words
MAX_WORDS = 1 << 19  # distinct words a table remembers: 20 MB
_BATCH_WORDS = 1 << 18  # looked up together
_SPARE = 2 * 8  # bytes after the text, so that sixteen can be read at any place

_SPACE, _OTHER, _MAYBE_WIDE_SPACE = range(3)
_KIND = np.full(256, _OTHER, np.uint8)
_KIND[list(b"\t\n\v\f\r ")] = _SPACE
_WIDE_SPACES = (
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_WIDE_BYTES = [int.from_bytes(space.encode(), "big") for space in _WIDE_SPACES]
_KIND[[code & 0xFF for code in _WIDE_BYTES]] = _MAYBE_WIDE_SPACE
_FIRST_BYTES = np.array([(1 << 8 * n) - 1 for n in range(9)], "<u8")  # masks that keep the first n bytes of eight
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd numbers without a pattern


class Words(NamedTuple):
    """Documents one after the other, and where the words of all of them lie."""

    data: Bytes  # with `_SPARE` zeros at the end
    starts: Numbers  # (words,)
    lengths: Numbers  # (words,)
    document_ends: Numbers  # (documents,) how many words there are up to each document's end

    def texts(self) -> list[bytes]:
        """The bytes of each word."""
        data, ends = self.data.tobytes(), self.starts + self.lengths
        return [data[start:end] for start, end in zip(self.starts.tolist(), ends.tolist(), strict=True)]

    def select(self, which: npt.NDArray[Any] | slice) -> Words:
        """Some of the words."""
        return self._replace(starts=self.starts[which], lengths=self.lengths[which])

    def batches(self) -> Iterator[Words]:
        """The same words in parts of bounded size."""
        for first in range(0, len(self.starts), _BATCH_WORDS):
            yield self.select(slice(first, first + _BATCH_WORDS))


def cut_words(texts: Sequence[str]) -> Words:
    """Cut documents where ASCII white space follows a character that is no white space.

    GPT-2's pattern always ends a chunk there, so the chunks of a text are the chunks of its words.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    size = int(ends[-1]) if len(ends) else 0
    data = np.frombuffer(b"".join([*encoded, bytes(_SPARE)]), np.uint8)
    kind = _KIND[data[:size]]
    is_start = np.zeros(size + 1, bool)
    np.logical_and(kind[1:] == _SPACE, kind[:-1] != _SPACE, out=is_start[1:size])
    is_start[_after_wide_space(data, np.flatnonzero(is_start[1:size] & (kind[:-1] == _MAYBE_WIDE_SPACE)) + 1)] = False
    is_start[ends] = True  # `size` among them
    is_start[0] = True
    bounds = np.flatnonzero(is_start)
    return Words(data, bounds[:-1], np.diff(bounds), np.searchsorted(bounds, ends))


def _after_wide_space(data: Bytes, places: Numbers) -> Numbers:
    """Those of some places that follow a white space of two or three bytes."""
    code = np.zeros(len(places), np.int64)
    for back in (3, 2, 1):
        code = code << 8 | np.where(places >= back, data[places - back], 0)
    return places[np.isin(code, _WIDE_BYTES) | np.isin(code & 0xFFFF, _WIDE_BYTES)]


class WordTable:
    """Numbers distinct words from 0 on, batch by batch: an open hash table that is probed for all words at once.

    Attributes:
        num_words: words numbered so far.
    """

    def __init__(self, max_words: int = MAX_WORDS) -> None:
        capacity = 1 << (max_words + _BATCH_WORDS).bit_length()
        self._max_words = max_words
        self._shift = np.uint64(64 - capacity.bit_length() + 1)
        self._numbers = np.full(capacity, -1, np.int32)  # by slot
        self._keys = np.zeros((2, capacity), np.uint64)  # by number
        self.num_words = 0

    def is_full(self) -> bool:
        """Whether the table should be cleared before the next batch."""
        return self.num_words > self._max_words

    def clear(self) -> None:
        """Forget all words."""
        self._numbers.fill(-1)
        self.num_words = 0

    def number(self, words: Words) -> tuple[Numbers, Numbers]:
        """Number the words of a batch, all of at most `MAX_WORD_BYTES`.

        Returns:
            The number of each word, and which of the words are new, in the order of their new numbers.
        """
        first, second = _keys(words)
        slots: Numbers = ((first * _MIX[0] ^ second * _MIX[1]) * _MIX[0] >> self._shift).astype(np.int64)
        found = np.empty(len(first), np.int64)
        new_words: list[Numbers] = []
        waiting = np.arange(len(first))
        while len(waiting):
            empty = np.flatnonzero(self._numbers[slots] < 0)
            if len(empty):
                new_words.append(waiting[self._claim(slots[empty], empty)])
                numbers = np.arange(self.num_words - len(new_words[-1]), self.num_words)
                self._keys[:, numbers] = first[new_words[-1]], second[new_words[-1]]
            numbers = self._numbers[slots].astype(np.int64)
            is_same = (self._keys[0, numbers] == first[waiting]) & (self._keys[1, numbers] == second[waiting])
            found[waiting[is_same]] = numbers[is_same]
            waiting, slots = waiting[~is_same], (slots[~is_same] + 1) % len(self._numbers)
        return found, np.concatenate([np.empty(0, np.int64), *new_words])

    def _claim(self, slots: Numbers, claimants: Numbers) -> Numbers:
        """Give each of some empty slots the next number, for one of its claimants; returns those that got one."""
        self._numbers[slots] = claimants
        winners = np.flatnonzero(self._numbers[slots] == claimants)
        self._numbers[slots[winners]] = np.arange(self.num_words, self.num_words + len(winners))
        self.num_words += len(winners)
        return claimants[winners]


def _keys(words: Words) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Each word as two integers: its first eight bytes; the next seven and the length."""
    eight = np.lib.stride_tricks.as_strided(words.data[:8].view("<u8"), (len(words.data) - 7,), (1,), writeable=False)
    first = eight[words.starts] & _FIRST_BYTES[np.minimum(words.lengths, 8)]
    second = eight[words.starts + 8] & _FIRST_BYTES[np.maximum(words.lengths - 8, 0)]
    return first, second | words.lengths.astype(np.uint64) << np.uint64(56)


class Ragged(NamedTuple):
    """Rows of different lengths, one after the other."""

    values: npt.NDArray[Any]
    lengths: Numbers  # (rows,)

    @classmethod
    def empty(cls, dtype: np.dtype[Any]) -> Ragged:
        """No rows."""
        return cls(np.empty(0, dtype), np.empty(0, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of some, one after the other."""
        return cls(np.concatenate([part.values for part in parts]), np.concatenate([part.lengths for part in parts]))

    def take(self, rows: Numbers) -> Ragged:
        """Some rows, in any order, with repetitions."""
        lengths = self.lengths[rows]
        ends = np.cumsum(lengths)
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        places = np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)
        return Ragged(self.values[places], lengths)
