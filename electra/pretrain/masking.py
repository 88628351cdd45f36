"""Masking, sampling and replacing tokens: pure functions of ids, logits and random numbers drawn beforehand.

Source: release pretrain/pretrain_helpers.py:130-229. Departures (`electra/DEPARTURES.md`, entries 8, 9 and 11): targets
are drawn without replacement, their number is exact, and samples come from the inverse CDF.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from electra.ids import SpecialIds
from electra.seeding import random_stream


class Batch(NamedTuple):
    """Rows with their targets and the random numbers for sampling: a whole update, or some of its rows."""

    input_ids: Tensor  # (B, L) int64: [CLS] text [SEP] and padding
    attention_mask: Tensor | None  # (B, L) bool, True at real tokens; None if no row of the update is padded
    masked_ids: Tensor  # (B, L) int64: the ids with most targets replaced by [MASK]; the generator's input
    positions: Tensor  # (B, P) int64: slots for targets, distinct positions in a row
    is_target: Tensor  # (B, P) bool: which of the P slots a row uses
    is_masked: Tensor  # (B, P) bool: target slots shown as [MASK]
    sample_uniforms: Tensor  # (B, P) float64 in [0, 1): picks the generated token by inverse CDF

    def pinned(self) -> Batch:
        """Return a copy in pinned memory, which a CUDA device can read while the CPU continues."""
        return Batch(*(None if tensor is None else tensor.pin_memory() for tensor in self))  # type: ignore[arg-type]

    def rows(self, start: int, stop: int, device: torch.device) -> Batch:
        """Return rows [start, stop), copied to a device."""
        parts = (None if tensor is None else tensor[start:stop].to(device, non_blocking=True) for tensor in self)
        return Batch(*parts)  # type: ignore[arg-type]


@functools.cache
def count_targets(num_tokens: int, mask_prob: float) -> int:
    """Return the number of targets of a row of n = `num_tokens` real tokens, [CLS] and [SEP] included.

    max(1, round(mask_prob x n)), exact, halves to even (30 -> 4, 70 -> 10, 110 -> 16), at most the n - 2 candidates.
    Source: release pretrain_helpers.py:173-175, which gives one target less or more at some row lengths, never at 128.
    """
    return max(0, min(max(1, round(Fraction(str(mask_prob)) * num_tokens)), num_tokens - 2))


def mask_tokens(
    input_ids: Tensor,
    position_uniforms: Tensor,
    mask_uniforms: Tensor,
    special_ids: SpecialIds,
    mask_prob: float,
    mask_token_prob: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose the targets of (B, L) rows and show most of them as [MASK]. All targets are predicted and resampled.

    The targets are the tokens with the lowest `position_uniforms`, (B, L) in [0, 1); special tokens are never targets.
    A target is shown as [MASK] if its draw in `mask_uniforms` ((B, P), in [0, 1)) is below `mask_token_prob`.

    Returns `masked_ids`, `positions`, `is_target` and `is_masked` of a `Batch`.
    """
    num_slots = mask_uniforms.shape[1]
    is_special = torch.isin(input_ids, torch.tensor(special_ids))
    order = position_uniforms.masked_fill(is_special, 2.0)  # 2.0: after every candidate
    positions = order.topk(num_slots, largest=False).indices
    lengths = (input_ids != special_ids.pad).sum(dim=1)
    num_targets = torch.tensor([count_targets(length, mask_prob) for length in lengths.tolist()])
    is_target = (torch.arange(num_slots) < num_targets[:, None]) & ~is_special.gather(1, positions)
    is_masked = is_target & (mask_uniforms < mask_token_prob)
    shown = torch.where(is_masked, special_ids.mask, input_ids.gather(1, positions))
    return input_ids.scatter(1, positions, shown), positions, is_target, is_masked


def make_batch(
    input_ids: np.ndarray,
    *indices: int | str,
    special_ids: SpecialIds,
    mask_prob: float,
    mask_token_prob: float,
    seed: int,
) -> Batch:
    """Mask the rows of one update: (B, L) int64 ids -> `Batch`. The result depends on ids, seed and indices alone."""
    num_rows, seq_length = input_ids.shape
    num_slots = count_targets(seq_length, mask_prob)
    rng = random_stream(seed, "masking", *indices)
    position_uniforms, mask_uniforms = (torch.from_numpy(rng.random((num_rows, n))) for n in (seq_length, num_slots))
    sample_uniforms = random_stream(seed, "sampling", *indices).random((num_rows, num_slots))
    ids = torch.from_numpy(input_ids)
    is_real = ids != special_ids.pad
    masked = mask_tokens(ids, position_uniforms, mask_uniforms, special_ids, mask_prob, mask_token_prob)
    return Batch(ids, None if bool(is_real.all()) else is_real, *masked, torch.from_numpy(sample_uniforms))


def cumulate(probs: Tensor) -> Tensor:
    """Return cumulative sums of probabilities: (..., V) in float32 or wider -> (..., V).

    In deterministic mode the sums are int64 and scaled by 2^40, because a float sum on CUDA has no fixed order.
    Total variation from the exact softmax: below 3e-4 over 30,522 words in float32 (tested).
    """
    if torch.are_deterministic_algorithms_enabled():
        probs = (probs.double() * 2**40).long()
    return probs.cumsum(dim=-1)


def sample_replacements(probs: Tensor, uniforms: Tensor) -> Tensor:
    """Draw ids: (..., V) probabilities in float32 or wider, (...) float64 uniforms in [0, 1) -> (...) int64 ids.

    The draw is by inverse CDF. The uniform is scaled by the last cumulative sum, which may differ from 1 by rounding.
    searchsorted has `right=True`: a uniform of 0 never picks probability 0.
    """
    cumulative = cumulate(probs)
    thresholds = (uniforms[..., None] * cumulative[..., -1:]).to(cumulative.dtype)
    sampled = torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)
    return sampled.clamp_(max=probs.shape[-1] - 1)


def corrupt(batch: Batch, sampled_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Write the samples over all targets of the original rows, masked or visible.

    Returns (B, L) int64 ids, the discriminator's input, and (B, L) bool labels: True where the token has changed.
    """
    original_ids = batch.input_ids.gather(1, batch.positions)
    written = torch.where(batch.is_target, sampled_ids, original_ids)
    corrupted = batch.input_ids.scatter(1, batch.positions, written)
    return corrupted, corrupted != batch.input_ids
