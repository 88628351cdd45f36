"""Byte-level byte-pair encoding: split a text, apply merges to its chunks.

A token is an id. Ids 0-3 are the special tokens, the next 256 are the bytes, in the code-point order of their
printable stand-ins ("!" is id 4, which is *not* byte order), then one id a merge. Merges never cross the borders
of the *chunks* that GPT-2's pattern cuts a text into.

Source: GPT-2 (Radford et al. 2019) for the pattern and the stand-ins.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import regex

from electra.ids import ID_BITS, ID_DTYPE, MAX_VOCAB_SIZE

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

split_text: Callable[[str], list[str]] = regex.compile(GPT2_PATTERN).findall
"""Cut a text into the chunks no merge may cross. Joined, they are the text."""


def split_words(words: Sequence[bytes]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The chunks of many words, each as `split_text` cuts it alone.

    Words are joined for the pattern to run over, where that changes nothing: the next one must start with white
    space, the one before must not end with it.

    Returns:
        The chunks of all words, and how many of them there are up to the end of each word.
    """
    texts = [word.decode() for word in words]
    runs: list[list[str]] = []
    may_go_on = False
    for text in texts:
        if may_go_on and text[0] in "\t\n\v\f\r ":
            runs[-1].append(text)
        else:
            runs.append([text])
        may_go_on = not text[-1].isspace()
    chunks = [chunk for run in runs for chunk in split_text("".join(run))]
    chunk_ends = np.cumsum(list(map(len, chunks)), dtype=np.int64)
    return chunks, chunk_ends.searchsorted(np.cumsum(list(map(len, texts)), dtype=np.int64), "right")


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


class MergeTable:
    """Merges arranged so that a chunk of any length is encoded in linear time.

    Merging pair by pair, the earliest merge first, defines the result; doing it costs a pass over the chunk a
    merge. Here tokens are laid from left to right instead, the longest first. A row of tokens is the result exactly
    when each two neighbours are what merging leaves of their bytes; where no token is right after the last one,
    that one gives way to the next shorter.

    Source: the `bpe` crate of github.com/github/rust-gems, which proves it.

    Attributes:
        tokens: the bytes of every id.

    Raises:
        ValueError: a merge uses a token that no earlier merge makes, or makes one that is made already or never
            comes up. Training yields no such merges.
    """

    def __init__(self, merges: Sequence[Merge]) -> None:
        for rank, (left, right) in enumerate(merges):
            if not NUM_SPECIAL_TOKENS <= min(left, right) <= max(left, right) < FIRST_MERGE_ID + rank:
                raise ValueError(f"merge {rank}: expected parts that earlier merges make, found {left} and {right}")
        self.tokens = token_bytes(merges)
        if len(set(self.tokens[NUM_SPECIAL_TOKENS:])) != len(self.tokens) - NUM_SPECIAL_TOKENS:
            raise ValueError("merges: expected each token to be made once, found some that are made twice")
        self._parts = [(0, 0)] * FIRST_MERGE_ID + list(merges)
        self._merged = {left << ID_BITS | right: FIRST_MERGE_ID + rank for rank, (left, right) in enumerate(merges)}
        for rank, (left, right) in enumerate(merges):
            if self._are_merged(left, right, FIRST_MERGE_ID + rank):
                raise ValueError(f"merge {rank}: expected a token that merging makes, found {left} and {right} apart")
        self._id_of = {token: n for n, token in enumerate(self.tokens) if n >= NUM_SPECIAL_TOKENS}
        self._reach: dict[bytes, int] = {}  # the length of the longest token by its first two bytes
        for token in self._id_of:
            self._reach[token[:2]] = max(len(token), self._reach.get(token[:2], 1))
        self._lengths = [len(token) for token in self.tokens]
        self._shorter = [self._longest(token[:-1], 0) for token in self.tokens]

    def encode(self, chunk: bytes) -> list[int]:
        """The ids of one chunk."""
        whole = self._id_of.get(chunk)
        if whole is not None:
            return [whole]
        ids: list[int] = []
        dead_ends: set[int] = set()  # places that no row of tokens leads on from
        place, token = 0, self._longest(chunk, 0)
        while place < len(chunk):
            end = place + self._lengths[token]
            if end not in dead_ends and not (ids and self._are_merged(ids[-1], token, MAX_VOCAB_SIZE)):
                ids.append(token)
                place = end
                token = self._longest(chunk, place)
                continue
            token = self._shorter[token]
            while not token:
                dead_ends.add(place)
                last = ids.pop()
                place -= self._lengths[last]
                token = self._shorter[last]
        return ids

    def _longest(self, chunk: bytes, start: int) -> int:
        """The longest token that the chunk goes on with, 0 at its end."""
        end = min(len(chunk), start + self._reach.get(chunk[start : start + 2], 1))
        while end > start:
            token = self._id_of.get(chunk[start:end])
            if token is not None:
                return token
            end -= 1
        return 0

    def _are_merged(self, left: int, right: int, before: int) -> bool:
        """Whether merging the bytes of two neighbours joins something across their border, by a merge below `before`.

        The two are taken apart again, latest merge first; at each stage the tokens at the border must not make one
        that comes earlier than the merge just undone.
        """
        merged, parts = self._merged, self._parts
        while True:
            if merged.get(left << ID_BITS | right, before) < before:
                return True
            if left > right:
                if left < FIRST_MERGE_ID:
                    return False
                before, left = left, parts[left][1]
            else:
                if right < FIRST_MERGE_ID:
                    return False
                before, right = right + 1, parts[right][0]
