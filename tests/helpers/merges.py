"""Merges to test with, and the ids of single bytes."""

from __future__ import annotations

import random

from electra.tokenizer import bpe
from tests.helpers.oracles import encode_pair_by_pair

BYTE_IDS = {byte: 4 + n for n, byte in enumerate(bpe.BYTES_IN_ID_ORDER)}
A, B, C, D = (BYTE_IDS[byte] for byte in b"abcd")


def random_merges(draw: random.Random, letters: bytes, num_merges: int) -> list[tuple[int, int]]:
    """Merges that training could yield, in another order: each makes a new token, and merging its bytes gives it."""
    merges: list[tuple[int, int]] = []
    ids, made = [BYTE_IDS[byte] for byte in letters], {bytes([byte]) for byte in letters}
    for _ in range(20 * num_merges):
        pair = draw.choice(ids), draw.choice(ids)
        token = bpe.token_bytes([*merges, pair])[-1]
        if token in made or len(token) > 11 or len(merges) == num_merges:
            continue
        if encode_pair_by_pair(token, BYTE_IDS, [*merges, pair], 260) == [260 + len(merges)]:
            ids.append(bpe.FIRST_MERGE_ID + len(merges))
            made.add(token)
            merges.append(pair)
    return merges
