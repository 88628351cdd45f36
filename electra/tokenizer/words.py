"""Find the distinct words of many documents with array operations.

Most words occur many times; so the tokenizer needs to split and encode each distinct word only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_MAX_WORD_BYTES = 15  # longer words are not compared; 15 bytes and the length fit into two 64-bit integers
_NUM_SPARE = 16  # zero bytes after the text, so that 16 bytes can be read at the start of every word
# Bytes that do not begin a white-space character. 0xC2, 0xE1, 0xE2 and 0xE3 begin non-ASCII ones, such as U+3000.
_BEGINS_NO_SPACE = np.array([byte not in b"\t\n\v\f\r \xc2\xe1\xe2\xe3" for byte in range(256)])
_FIRST_BYTES = np.array([(1 << 8 * n) - 1 for n in range(9)], "<u8")  # masks that keep the first n bytes of eight
_MIX = np.uint64(0x9E3779B97F4A7C15)  # an odd number with irregular bits, to mix the two keys of a word


class Words(NamedTuple):
    """Documents as sequences of word indices.

    Attributes:
        distinct: the text of each distinct word; a word of more than 15 bytes may be in this list several times.
        numbers: shape (words,), for every word of all documents its index in `distinct`.
        document_ends: shape (documents,), for each document the index in `numbers` at which it ends.
        num_bytes: the size of all documents in UTF-8.
    """

    distinct: list[str]
    numbers: npt.NDArray[np.int64]
    document_ends: npt.NDArray[np.int64]
    num_bytes: int


def find_words(texts: Sequence[str]) -> Words:
    """Return the words of documents. A new word begins at each space that is not followed by more white space.

    GPT-2's pattern starts a chunk at each of these spaces, so the chunks of a text are the chunks of its words.

    Raises:
        UnicodeEncodeError: a text contains a lone surrogate, which UTF-8 cannot write.
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(data) for data in encoded], dtype=np.int64)
    joined = b"".join([*encoded, bytes(_NUM_SPARE)])
    data = np.frombuffer(joined, np.uint8)
    size = len(data) - _NUM_SPARE
    is_start = np.append((data[:size] == ord(" ")) & _BEGINS_NO_SPACE[data[1 : size + 1]], True)
    is_start[ends - 1] = False  # the next byte belongs to another document
    is_start[ends] = is_start[0] = True
    bounds = np.flatnonzero(is_start)
    starts, lengths = bounds[:-1], np.diff(bounds)
    first, second = _keys(data, starts, lengths)
    order = np.argsort(first * _MIX ^ second)  # equal words have equal keys, so they become neighbours
    first, second = first[order], second[order]
    is_new = np.append(True, (first[1:] != first[:-1]) | (second[1:] != second[:-1]))[: len(order)]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(is_new) - 1
    chosen = order[is_new]
    spans = zip(starts[chosen].tolist(), bounds[chosen + 1].tolist(), strict=True)
    distinct = [joined[start:end].decode() for start, end in spans]
    return Words(distinct, numbers, np.searchsorted(bounds, ends), size)


def _keys(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return two integers for each word: equal words of at most 15 bytes share them; a longer word has its own."""
    eight = np.lib.stride_tricks.as_strided(data[:8].view("<u8"), (len(data) - 7,), (1,), writeable=False)
    first = eight[starts] & _FIRST_BYTES[np.minimum(lengths, 8)]
    second = eight[starts + 8] & _FIRST_BYTES[np.clip(lengths - 8, 0, 8)] | lengths.astype(np.uint64) << np.uint64(56)
    own_number = np.arange(len(starts), dtype=np.uint64) | np.uint64(1 << 63)
    return first, np.where(lengths <= _MAX_WORD_BYTES, second, own_number)
