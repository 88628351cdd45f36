"""Byte-level byte-pair encoding: split text, learn merges, apply merges. Pure functions on plain data.

A token is an id. Ids 0-3 are the special tokens, the next 256 are the bytes, in the code-point order of their
printable stand-ins ("!" is id 4, which is *not* byte order), then one id a merge. Inside this module a chunk is
a `str` with one character an id, so that C code does the work: `str.split` finds a pair, `str.join` merges it.

Source: GPT-2 (Radford et al. 2019) for pattern and stand-ins; ties as in the `tokenizers` library's trainer.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

import regex

Merge = tuple[int, int]  # the ids of the left and the right part
Progress = Callable[[int, int], None]  # (done, total)

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
WHITE_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's property, in full

NUM_SPECIAL_TOKENS = 4
FIRST_MERGE_ID = NUM_SPECIAL_TOKENS + 256
MAX_VOCAB_SIZE = 1 << 16  # an id is stored in 16 bits
MIN_COUNT = 2  # a pair seen once is not worth an id
MAX_CHUNK_BYTES = 1024  # longer chunks (base64, rules of dashes) teach nothing and cost memory: not trained on


def _printable_stand_ins() -> tuple[str, ...]:
    """GPT-2's table: the character that stands for each byte, so that a token can be printed."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return tuple(table[byte] for byte in range(256))


BYTE_TO_CHAR = _printable_stand_ins()
ID_TO_BYTE = sorted(range(256), key=lambda byte: BYTE_TO_CHAR[byte])  # at position id - NUM_SPECIAL_TOKENS
_LATIN1_TO_IDS = {byte: NUM_SPECIAL_TOKENS + n for n, byte in enumerate(ID_TO_BYTE)}  # for str.translate

split_text: Callable[[str], list[str]] = regex.compile(GPT2_PATTERN).findall
"""Cut a text into the chunks no merge may cross. Joined, they are the text."""

split_words: Callable[[str], list[str]] = re.compile(f"[{WHITE_SPACE}]*[^{WHITE_SPACE}]+|[{WHITE_SPACE}]+").findall
"""Cut a text into words with the white space before them. Three times faster than `split_text`, and exact to build
on: GPT-2's pattern always ends a chunk where white space begins, so the chunks of a text are those of its words."""


def byte_ids(data: bytes) -> str:
    """The ids of single bytes, one character an id."""
    return data.decode("latin-1").translate(_LATIN1_TO_IDS)


def count_chunks(word_counts: Mapping[str, int], into: Counter[str] | None = None) -> Counter[str]:
    """Counts of chunks from the counts of words: each distinct word is split once."""
    counts: Counter[str] = Counter() if into is None else into
    for word, count in word_counts.items():
        for chunk in split_text(word):
            counts[chunk] += count
    return counts


def learn_merges(
    chunk_counts: Mapping[str, int], num_merges: int, *, min_count: int = MIN_COUNT, progress: Progress | None = None
) -> list[Merge]:
    """Learn up to `num_merges` merges: always the most frequent pair; of equals, the smaller (left id, right id).

    Stops early when the best pair is rarer than `min_count`. The result does not depend on the order of
    `chunk_counts`. Chunks of more than `MAX_CHUNK_BYTES` are left out.
    """
    words, weights = _words(chunk_counts)
    counts, found_in = _count_pairs(words, weights)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merges: list[Merge] = []
    while queue and len(merges) < num_merges:
        negative_count, pair = heapq.heappop(queue)
        count = counts.get(pair, 0)
        if count != -negative_count:  # an old entry: the pair has lost occurrences since
            if count > 0:
                heapq.heappush(queue, (-count, pair))
            continue
        if count < min_count:
            break
        new = chr(FIRST_MERGE_ID + len(merges))
        merges.append((ord(pair[0]), ord(pair[1])))
        for born in _merge_everywhere(pair, new, words, weights, counts, found_in):
            if counts[born] > 0:
                heapq.heappush(queue, (-counts[born], born))
        if progress:
            progress(len(merges), num_merges)
    return merges


def _words(chunk_counts: Mapping[str, int]) -> tuple[list[str], list[int]]:
    """Chunks of two bytes or more as strings of ids, and their counts."""
    words, weights = [], []
    for chunk, count in chunk_counts.items():
        data = chunk.encode()
        if 1 < len(data) <= MAX_CHUNK_BYTES:
            words.append(byte_ids(data))
            weights.append(count)
    return words, weights


def _count_pairs(words: list[str], weights: list[int]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """How often each pair of ids occurs, and in which words (with repetitions)."""
    counts: dict[str, int] = defaultdict(int)
    found_in: dict[str, list[int]] = defaultdict(list)
    for number, word in enumerate(words):
        weight = weights[number]
        for pair in map(str.__add__, word, word[1:]):
            counts[pair] += weight
            found_in[pair].append(number)
    return counts, found_in


def _merge_everywhere(
    pair: str,
    new: str,
    words: list[str],
    weights: list[int],
    counts: dict[str, int],
    found_in: dict[str, list[int]],
) -> set[str]:
    """Replace `pair` by `new` in every word that holds it, keep the counts true, return the pairs that came up."""
    left, right = pair
    born: set[str] = set()
    for number in found_in.pop(pair):
        parts = words[number].split(pair)
        if len(parts) == 1:
            continue  # the word lost this pair to an earlier merge
        weight = weights[number]
        words[number] = new.join(parts)
        before = parts[0]
        for n, after in enumerate(parts[1:], 1):
            if before:
                counts[before[-1] + left] -= weight
                created = before[-1] + new
            else:
                created = new + new if n > 1 else ""
                if created:
                    counts[right + left] -= weight
            if created:
                counts[created] += weight
                born.add(created)
                found_in[created].append(number)
            if after:
                counts[right + after[0]] -= weight
                created = new + after[0]
                counts[created] += weight
                born.add(created)
                found_in[created].append(number)
            before = after
    counts.pop(pair, None)
    return born


def apply_merges(word: str, ranks: Mapping[str, tuple[int, str]]) -> str:
    """Merge one chunk, given as a string of ids, as far as it goes: always the pair of the lowest rank.

    `ranks` maps a pair to its rank and the merged id.
    """
    never = (len(ranks), "")
    while len(word) > 1:
        best = min(map(str.__add__, word, word[1:]), key=lambda pair: ranks.get(pair, never)[0])
        if best not in ranks:
            break
        word = word.replace(best, ranks[best][1])
    return word
