"""Random draws as functions of (seed, stream, indices), so that a checkpoint needs no random state."""

from __future__ import annotations

import hashlib

import numpy as np

STREAMS = (
    "init",  # weights of a new model
    "windows",  # which rows an update reads
    "masking",  # which positions are targets, and which of them stay visible
    "sampling",  # the uniform number that picks each generated token
    "dropout",  # the seed of torch's own dropout, set for each forward pass
    "finetune-order",  # order of the fine-tuning examples, one draw per epoch
    "finetune-head",  # weights of a task head
    "tokenizer-sample",  # which documents the tokenizer learns from
    "bootstrap",  # resampling for intervals
)


def derive_seed(seed: int, stream: str, *indices: int | str) -> int:
    """Return a 63-bit seed for one draw: from the SHA-256 of seed, stream name and indices (step, rank, ...)."""
    if stream not in STREAMS:
        raise ValueError(f"stream: expected one of {', '.join(STREAMS)}, found {stream!r}")
    text = "/".join([str(seed), stream, *map(str, indices)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def random_stream(seed: int, stream: str, *indices: int | str) -> np.random.Generator:
    """Return a NumPy Philox generator seeded by `seed`, stream and indices; it draws the same numbers everywhere."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, stream, *indices)))
