"""Byte-level byte-pair encoding: cut a text into chunks and apply merges to each chunk.

Ids 0-3 are the special tokens. Ids 4-259 are the 256 bytes, in the order of the printable characters that represent
them ("!" is id 4), which is *not* byte order. From 260 on there is one id for each merge. GPT-2's pattern cuts a text
into *chunks*; a merge never joins two chunks.

Source: GPT-2 (Radford et al. 2019) for the pattern and the printable characters.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import regex

from electra.ids import ID_DTYPE

Merge = tuple[int, int]  # the ids of the left and the right part

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

NUM_SPECIAL_TOKENS = 4
FIRST_MERGE_ID = NUM_SPECIAL_TOKENS + 256


def _printable_stand_ins() -> tuple[str, ...]:
    """Return GPT-2's table: for each byte the printable character that represents the byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return tuple(table[byte] for byte in range(256))


BYTE_TO_CHAR = _printable_stand_ins()
BYTES_IN_ID_ORDER = bytes(sorted(range(256), key=lambda byte: BYTE_TO_CHAR[byte]))
BYTE_TO_ID = np.argsort(np.frombuffer(BYTES_IN_ID_ORDER, np.uint8)).astype(ID_DTYPE) + NUM_SPECIAL_TOKENS
_ID_OF_BYTE = BYTE_TO_ID.tolist()

split_text: Callable[[str], list[str]] = regex.compile(GPT2_PATTERN).findall
"""Return the chunks of a text, in order; the joined chunks are the text."""


@functools.cache
def split_digest() -> str:
    """Return a SHA-256 of the pattern and of the character classes (letter, number, space) of the installed `regex`.

    `split_text` depends on these classes; versions of `regex` differ for characters that are new in Unicode.
    """
    code_points = np.arange(0x110000, dtype="<u4")
    every = code_points[(code_points < 0xD800) | (code_points > 0xDFFF)].tobytes().decode("utf-32-le")
    runs = [match.span() for kind in (r"\p{L}+", r"\p{N}+", r"\s+") for match in regex.finditer(kind, every)]
    return hashlib.sha256(repr((GPT2_PATTERN, runs)).encode()).hexdigest()


def token_bytes(merges: Sequence[Merge]) -> list[bytes]:
    """Return the bytes of every id, in order of id; a special token has no bytes."""
    tokens = [b""] * NUM_SPECIAL_TOKENS + [bytes([byte]) for byte in BYTES_IN_ID_ORDER]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def index_merges(merges: Sequence[Merge]) -> dict[Merge, int]:
    """Return {pair of ids that a merge joins: id that the merge makes}."""
    return {merge: FIRST_MERGE_ID + rank for rank, merge in enumerate(merges)}


def encode_chunk(chunk: bytes, id_of_pair: Mapping[Merge, int]) -> list[int]:
    """Return the ids of one chunk. Merges (from `index_merges`) are applied earliest first, each from left to right.

    A queue holds the pairs that can be merged, so a chunk of n bytes takes O(n log n) steps.
    """
    ids = [*map(_ID_OF_BYTE.__getitem__, chunk), 0]  # the 0 is in no pair; [-1] is before [0]
    following, previous = list(range(1, len(ids) + 1)), list(range(-1, len(ids) - 1))
    queue = [(new, n) for n, pair in enumerate(itertools.pairwise(ids)) if (new := id_of_pair.get(pair))]
    heapq.heapify(queue)
    while queue:
        new, left = heapq.heappop(queue)
        right = following[left]
        if id_of_pair.get((ids[left], ids[right])) != new:
            continue  # an earlier merge has used a part of this pair
        ids[left], ids[right] = new, 0
        before, after = previous[left], following[right]
        following[left], previous[after] = after, left
        for place, pair in ((before, (ids[before], new)), (left, (new, ids[after]))):
            if later := id_of_pair.get(pair):
                heapq.heappush(queue, (later, place))
    return [token for token in ids if token]
