"""Masking, sampling and replacing tokens: pure functions of ids, logits and pre-drawn noise.

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
from electra.seeding import generator


class Batch(NamedTuple):
    """Rows, their targets and their noise: a whole update, or some rows of one. All tensors are made on the CPU."""

    input_ids: Tensor  # (B, L) int64: [CLS] text [SEP] and padding
    attention_mask: Tensor | None  # (B, L) bool, True at real tokens; None if no row of the update is padded
    masked: Tensor  # (B, L) int64: the ids with most targets replaced by [MASK]; the generator's input
    positions: Tensor  # (B, P) int64: distinct positions, in order of score
    is_target: Tensor  # (B, P) bool: which of the P slots a row uses
    is_masked: Tensor  # (B, P) bool: target slots shown as [MASK]
    sample_uniforms: Tensor  # (B, P) float64 in [0, 1): picks the generated token by inverse CDF

    def pinned(self) -> Batch:
        """A copy in pinned memory, which a CUDA device can read while the CPU continues."""
        return Batch(*(None if tensor is None else tensor.pin_memory() for tensor in self))  # type: ignore[arg-type]

    def rows(self, start: int, stop: int, device: torch.device) -> Batch:
        """Rows [start, stop), copied to a device."""
        parts = (None if tensor is None else tensor[start:stop].to(device, non_blocking=True) for tensor in self)
        return Batch(*parts)  # type: ignore[arg-type]


def count_targets(num_tokens: int, mask_prob: float) -> int:
    """Number of targets of a row of n = `num_tokens` real tokens, [CLS] and [SEP] included.

    max(1, round(mask_prob x n)), exact, halves to even (30 -> 4, 70 -> 10, 110 -> 16), at most the n - 2 candidates.
    Source: release pretrain_helpers.py:173-175, which gives one target less or more at some row lengths, never at 128.
    """
    wanted = round(Fraction(str(mask_prob)) * num_tokens)
    return max(0, min(max(1, wanted), num_tokens - 2))


@functools.lru_cache
def target_counts(seq_length: int, mask_prob: float) -> Tensor:
    """(L + 1,) int64: `count_targets` of every row length up to `seq_length`."""
    return torch.tensor([count_targets(n, mask_prob) for n in range(seq_length + 1)])


def mask_tokens(
    input_ids: Tensor,
    scores: Tensor,
    uniforms: Tensor,
    special_ids: SpecialIds,
    mask_prob: float,
    mask_token_prob: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose each row's targets and show most of them as [MASK].

    Args:
        input_ids: (B, L) int64, [CLS] text [SEP] and padding.
        scores: (B, L) in [0, 1): the candidates with the lowest scores are the targets.
        uniforms: (B, P) in [0, 1): a target becomes [MASK] if its uniform is below `mask_token_prob`.
        special_ids: [CLS], [SEP], [MASK] and [PAD] are never chosen.
        mask_prob: number of targets over number of real tokens.
        mask_token_prob: chance that a target is shown as [MASK]. All targets are predicted and resampled.

    Returns:
        masked, positions, is_target, is_masked, as in `Batch`.
    """
    num_slots = uniforms.shape[1]
    is_special = torch.isin(input_ids, torch.tensor(special_ids))
    positions = scores.masked_fill(is_special, 2.0).topk(num_slots, largest=False).indices  # 2.0: above every draw
    counts = target_counts(input_ids.shape[1], mask_prob)[(input_ids != special_ids.pad).sum(dim=1)]
    is_target = (torch.arange(num_slots) < counts[:, None]) & ~is_special.gather(1, positions)
    is_masked = is_target & (uniforms < mask_token_prob)
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
    """Mask the rows of one update: (B, L) int64 ids -> `Batch`. It depends on ids, seed and indices alone."""
    rows, seq_length = input_ids.shape
    num_slots = count_targets(seq_length, mask_prob)
    masking = generator(seed, "masking", *indices)
    scores, uniforms = masking.random((rows, seq_length)), masking.random((rows, num_slots))
    sample_uniforms = generator(seed, "sampling", *indices).random((rows, num_slots))
    ids = torch.from_numpy(input_ids)
    is_real = ids != special_ids.pad
    attention_mask = None if bool(is_real.all()) else is_real
    noise = torch.from_numpy(scores), torch.from_numpy(uniforms)
    masked = mask_tokens(ids, *noise, special_ids, mask_prob, mask_token_prob)
    return Batch(ids, attention_mask, *masked, torch.from_numpy(sample_uniforms))


def cumulative_softmax(logits: Tensor) -> Tensor:
    """(..., V) logits -> cumulative sums of softmax(logits), up to a constant factor, in float32 or wider.

    In deterministic mode they are int64, because a float cumulative sum on CUDA has no fixed order.
    Total variation from the exact softmax: below 3e-4 over 30,522 words in float32 (tested).
    """
    probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=-1)
    if torch.are_deterministic_algorithms_enabled():
        probabilities = (probabilities.double() * 2**40).long()
    return probabilities.cumsum(dim=-1)


@torch.no_grad()
def sample_replacements(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token per slot from softmax(logits), at temperature 1, without a gradient.

    Inverse CDF: one uniform per slot, where a Gumbel draw needs V of them. The uniform is scaled by the row's last
    sum, which rounding may leave unequal to 1; with `right=True` u = 0 never picks a token of probability 0.

    Args:
        logits: (B, P, V).
        uniforms: (B, P) float64 in [0, 1).

    Returns:
        (B, P) int64 ids.
    """
    cumulative = cumulative_softmax(logits)
    thresholds = (uniforms[..., None] * cumulative[..., -1:]).to(cumulative.dtype)
    sampled = torch.searchsorted(cumulative, thresholds, right=True).squeeze(-1)
    return sampled.clamp_(max=logits.shape[-1] - 1)


def corrupt(batch: Batch, sampled_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Write the samples over all targets of the original rows, also over the visible ones.

    Returns:
        corrupted: (B, L) int64, the discriminator's input.
        is_replaced: (B, L) bool, False where the sample equals the original token.
    """
    original_ids = batch.input_ids.gather(1, batch.positions)
    written = torch.where(batch.is_target, sampled_ids, original_ids)
    corrupted = batch.input_ids.scatter(1, batch.positions, written)
    return corrupted, corrupted != batch.input_ids
