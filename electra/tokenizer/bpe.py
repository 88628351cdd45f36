"""Byte-level byte-pair encoding: split a text, apply merges to its chunks.

Ids 0-3 are the special tokens, the next 256 are the bytes, in the code-point order of their
printable stand-ins ("!" is id 4, which is *not* byte order), then one id for each merge. GPT-2's pattern cuts a text
into *chunks*; merges are applied to each chunk alone.

Source: GPT-2 (Radford et al. 2019) for the pattern and the stand-ins.
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
    """GPT-2's table: the character that stands for each byte, so that a token can be printed."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return tuple(table[byte] for byte in range(256))


BYTE_TO_CHAR = _printable_stand_ins()
BYTES_IN_ID_ORDER = bytes(sorted(range(256), key=lambda byte: BYTE_TO_CHAR[byte]))
BYTE_TO_ID = np.argsort(np.frombuffer(BYTES_IN_ID_ORDER, np.uint8)).astype(ID_DTYPE) + NUM_SPECIAL_TOKENS
_ID_OF_BYTE = BYTE_TO_ID.tolist()

split_text: Callable[[str], list[str]] = regex.compile(GPT2_PATTERN).findall
"""Cut a text into chunks. Merges never join parts of two chunks. The joined chunks are the text."""


@functools.cache
def split_digest() -> str:
    """SHA-256 of how this machine's `regex` classifies every character: what `split_text` depends on.

    Engines differ on the characters that their Unicode version does not know yet.
    """
    code_points = np.arange(0x110000, dtype="<u4")
    every = code_points[(code_points < 0xD800) | (code_points > 0xDFFF)].tobytes().decode("utf-32-le")
    runs = [match.span() for kind in (r"\p{L}+", r"\p{N}+", r"\s+") for match in regex.finditer(kind, every)]
    return hashlib.sha256(repr((GPT2_PATTERN, runs)).encode()).hexdigest()


def token_bytes(merges: Sequence[Merge]) -> list[bytes]:
    """The bytes of every id; special tokens have none."""
    tokens = [b""] * NUM_SPECIAL_TOKENS + [bytes([byte]) for byte in BYTES_IN_ID_ORDER]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def index_merges(merges: Sequence[Merge]) -> dict[Merge, int]:
    """The id that each merge makes, by the pair of ids that it joins."""
    return {merge: FIRST_MERGE_ID + rank for rank, merge in enumerate(merges)}


def encode_chunk(chunk: bytes, id_of_pair: Mapping[Merge, int]) -> list[int]:
    """Apply merges (of `index_merges`) to one chunk, the earliest merge first, each from left to right.

    Pairs wait in a queue, so that a chunk of n bytes takes O(n log n) steps.
    """
    ids = [*map(_ID_OF_BYTE.__getitem__, chunk), 0]  # the 0 joins with nothing; [-1] is before [0]
    following, previous = list(range(1, len(ids) + 1)), list(range(-1, len(ids) - 1))
    queue = [(new, n) for n, pair in enumerate(itertools.pairwise(ids)) if (new := id_of_pair.get(pair))]
    heapq.heapify(queue)
    while queue:
        new, left = heapq.heappop(queue)
        right = following[left]
        if id_of_pair.get((ids[left], ids[right])) != new:
            continue  # an earlier merge took a part of this pair
        ids[left], ids[right] = new, 0
        before, after = previous[left], following[right]
        following[left], previous[after] = after, left
        for place, pair in ((before, (ids[before], new)), (left, (new, ids[after]))):
            if later := id_of_pair.get(pair):
                heapq.heappush(queue, (later, place))
    return [token for token in ids if token]
