"""Rows of text -> token ids -> batches of tensors: pairs, truncation, order, length buckets, padding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from electra.scores.metrics import Array
from electra.seeding import random_stream
from electra.tokenizer.wordpiece import AnyTokenizer

PAD_MULTIPLE = 8
"""Rows are padded to a multiple of this length: 16-bit matrix units are then fast, and fewer shapes occur."""

POOL_BATCHES = 32
"""Rows are sorted by length within pools of this many batches; then the batches of an epoch are shuffled."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """N encoded rows in one array: [CLS] text [SEP], or [CLS] text [SEP] second text [SEP] for a pair."""

    ids: Array  # (total,) int32
    starts: Array  # (N + 1,) int64: row i is ids[starts[i] : starts[i + 1]]
    second_starts: Array  # (N,) int64: start of the second text inside its row, or the row's length without one
    max_seq_length: int
    pad_id: int
    num_cut: int = 0  # rows that were longer

    def __len__(self) -> int:
        return len(self.second_starts)

    @property
    def lengths(self) -> Array:
        """Return (N,) int64: the number of tokens of each row, with special tokens."""
        return np.diff(self.starts)


def truncated_lengths(num_first: int, num_second: int, limit: int) -> tuple[int, int]:
    """Return two lengths cut to a sum of `limit`: each token is taken off the longer text, or the second at a tie.

    Source: release classification_tasks.py:296-310.
    """
    while num_first + num_second > limit:
        if num_first > num_second:
            num_first -= 1
        else:
            num_second -= 1
    return num_first, num_second


def encode(first: list[str], second: list[str] | None, tokenizer: AnyTokenizer, max_seq_length: int) -> Features:
    """Encode texts, or pairs of texts, and cut each row to `max_seq_length` tokens, special tokens included.

    A pair whose second text is empty is a single text. Source: release classification_tasks.py:65-150.
    """
    cls, sep = tokenizer.special_ids.cls, tokenizer.special_ids.sep
    rows, second_starts, num_cut = [], [], 0
    for number, text in enumerate(first):
        a, b = tokenizer.encode(text), tokenizer.encode(second[number]) if second else []
        num_a, num_b = truncated_lengths(len(a), len(b), max_seq_length - (3 if b else 2))
        rows.append([cls, *a[:num_a], sep, *b[:num_b], *([sep] if b else [])])
        second_starts.append(num_a + 2)
        num_cut += num_a + num_b < len(a) + len(b)
    return replace(pack(rows, second_starts, tokenizer, max_seq_length), num_cut=num_cut)


def pack(rows: list[list[int]], second_starts: list[int], tokenizer: AnyTokenizer, max_seq_length: int) -> Features:
    """Return rows of ids, special tokens included, as `Features`."""
    return Features(
        ids=np.concatenate([np.array(row, np.int32) for row in rows]),
        starts=np.cumsum([0, *map(len, rows)]),
        second_starts=np.array(second_starts),
        max_seq_length=max_seq_length,
        pad_id=tokenizer.special_ids.pad,
    )


class PaddedRows(NamedTuple):
    """Rows of one length, the arguments of a `SequenceClassifier`."""

    input_ids: Tensor  # (B, L) int64
    attention_mask: Tensor  # (B, L) bool
    token_type_ids: Tensor  # (B, L) int64


def collate(
    features: Features, rows: Array, device: torch.device | str = "cpu", *, token_types: bool = True
) -> PaddedRows:
    """Return the rows with the numbers `rows` (B,), padded to one length, on a device.

    The length is a multiple of `PAD_MULTIPLE` up to the maximum. The second text has type 1 if `token_types`, else 0.
    """
    lengths = features.starts[rows + 1] - features.starts[rows]
    width = min(-(-int(lengths.max()) // PAD_MULTIPLE) * PAD_MULTIPLE, features.max_seq_length)
    columns = np.arange(width)
    is_real = columns < lengths[:, None]
    places = np.where(is_real, features.starts[rows][:, None] + columns, 0)
    is_second = is_real & (columns >= features.second_starts[rows][:, None]) & token_types
    ids = np.where(is_real, features.ids[places], features.pad_id).astype(np.int64)
    return PaddedRows(*(torch.from_numpy(array).to(device) for array in (ids, is_real, is_second.astype(np.int64))))


def training_batches(
    lengths: Array, batch_size: int, seed: int, epoch: int, *, length_buckets: bool = True
) -> list[Array]:
    """Return the row numbers of each update of one epoch, each row once, in a random order from `seed` and `epoch`.

    `lengths` (N,) is the number of tokens of each row. With length buckets, the rows of a batch have similar lengths.
    """
    rng = random_stream(seed, "finetune-order", epoch)
    order = rng.permutation(len(lengths))
    if not length_buckets:
        return _cut(order, batch_size)
    pools = _cut(order, POOL_BATCHES * batch_size)
    batches = [batch for pool in pools for batch in _cut(pool[np.argsort(lengths[pool], kind="stable")], batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def evaluation_batches(lengths: Array, batch_size: int) -> list[Array]:
    """Return the row numbers of each batch: every row once, in order of length."""
    return _cut(np.argsort(lengths, kind="stable"), batch_size)


def _cut(order: Array, size: int) -> list[Array]:
    return [order[start : start + size] for start in range(0, len(order), size)]
