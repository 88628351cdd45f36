"""The objective of section 2 of the paper, and its control: networks and masked rows -> losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from electra.model.networks import Electra, MaskedLM, wide
from electra.pretrain.masking import Batch, corrupt, sample_replacements


class Counts(NamedTuple):
    """Denominators of the losses, from the *global* batch: losses of micro-batches and ranks then add up to one mean.

    They are tensors, because torch.compile would compile again for every new Python number.
    """

    num_targets: Tensor  # scalar int64
    num_tokens: Tensor  # scalar int64: real tokens, [CLS] and [SEP] included

    def to(self, device: torch.device) -> Counts:
        """Return a copy on a device."""
        return Counts(*(number.to(device, non_blocking=True) for number in self))


class Detection(NamedTuple):
    """The discriminator's input, labels and output."""

    corrupted: Tensor  # (B, L) int64
    is_replaced: Tensor  # (B, L) bool
    logits: Tensor  # (B, L)


class Losses(NamedTuple):
    """The losses of some rows, as scalars without a gradient."""

    loss: Tensor
    masked_lm_loss: Tensor
    disc_loss: Tensor

    def plus(self, other: Losses) -> Losses:
        """Return the sum with the losses of other rows, in new tensors."""
        return Losses(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class PretrainLosses(NamedTuple):
    """The losses of some rows, and outputs for the evaluation. Only `loss` and its two parts have a gradient."""

    loss: Tensor  # scalar, the training loss
    masked_lm_loss: Tensor  # scalar, nats per target
    disc_loss: Tensor  # scalar, nats per real token; 0 without a discriminator
    generator_logits: Tensor  # (B, P, V)
    sampled_ids: Tensor  # (B, P) int64
    detection: Detection | None  # None without a discriminator


def count(batch: Batch) -> Counts:
    """Count the targets and real tokens of a whole update, on the CPU."""
    is_real = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
    return Counts(batch.is_target.sum(), is_real.sum())


def masked_lm_nats(logits: Tensor, original_ids: Tensor) -> Tensor:
    """Return negative log-likelihoods in nats: (B, P, V) logits, (B, P) ids -> (B, P)."""
    return F.cross_entropy(wide(logits).flatten(0, 1), original_ids.flatten(), reduction="none").view_as(original_ids)


def replaced_nats(logits: Tensor, is_replaced: Tensor) -> Tensor:
    """Return binary cross-entropies in nats: (B, L) logits, (B, L) bool labels -> (B, L)."""
    logits = wide(logits)
    return F.binary_cross_entropy_with_logits(logits, is_replaced.to(logits.dtype), reduction="none")


def sum_where(nats: Tensor, chosen: Tensor | None) -> Tensor:
    """Sum the entries where `chosen` is True, or all entries for None, without a wait for the device."""
    return nats.sum() if chosen is None else nats.masked_fill(~chosen, 0.0).sum()


def masked_language_modeling(
    model: Electra | MaskedLM, batch: Batch, counts: Counts, gen_weight: float, disc_weight: float
) -> PretrainLosses:
    """Return the losses of a generator that fills the targets; with a `MaskedLM` it is the control objective.

    The loss is a mean over targets. Arguments as in `replaced_token_detection`; `disc_weight` is not used.
    Source: release run_pretraining.py, `electra_objective: false` (BERT under the same masking).
    """
    logits = wide(model.generator(batch.masked_ids, batch.positions, batch.attention_mask))
    sampled_ids = sample_replacements(logits, batch.sample_uniforms)
    nats = masked_lm_nats(logits, batch.input_ids.gather(1, batch.positions))
    masked_lm_loss = sum_where(nats, batch.is_target) / counts.num_targets
    no_loss = torch.zeros_like(masked_lm_loss)
    return PretrainLosses(gen_weight * masked_lm_loss, masked_lm_loss, no_loss, logits.detach(), sampled_ids, None)


def replaced_token_detection(
    model: Electra, batch: Batch, counts: Counts, gen_weight: float, disc_weight: float
) -> PretrainLosses:
    """Return ELECTRA's losses: the generator fills the targets, the discriminator finds tokens that are not original.

    The discriminator's loss is a mean over real tokens. Samples are ids, so no gradient flows from the discriminator
    into the generator's own weights. `counts` are of the global batch; `disc_weight` is lambda.

    Source: paper section 2; release run_pretraining.py:96-108, 183-285.
    """
    generated = masked_language_modeling(model, batch, counts, gen_weight, disc_weight)
    corrupted, is_replaced = corrupt(batch, generated.sampled_ids)
    logits = model.discriminator(corrupted, batch.attention_mask)
    disc_loss = sum_where(replaced_nats(logits, is_replaced), batch.attention_mask) / counts.num_tokens
    loss = generated.loss + disc_weight * disc_loss
    detection = Detection(corrupted, is_replaced, logits.detach())
    return generated._replace(loss=loss, disc_loss=disc_loss, detection=detection)


Objective = Callable[[Any, Batch, Counts, float, float], PretrainLosses]
OBJECTIVES: dict[str, Objective] = {"rtd": replaced_token_detection, "mlm": masked_language_modeling}
