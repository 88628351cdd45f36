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
    """Denominators over the *global* batch, so that micro-batches and ranks add up to one mean.

    Tensors, not numbers: a compiled objective would be compiled anew for each number it meets.
    """

    num_targets: Tensor  # scalar int64
    num_tokens: Tensor  # scalar int64: real tokens, [CLS] and [SEP] included

    def to(self, device: torch.device) -> Counts:
        """The same on a device."""
        return Counts(*(number.to(device, non_blocking=True) for number in self))


class Detection(NamedTuple):
    """What the discriminator saw and said."""

    corrupted: Tensor  # (B, L) int64
    is_replaced: Tensor  # (B, L) bool
    logits: Tensor  # (B, L)


class Losses(NamedTuple):
    """The losses of some rows, as scalars without a graph: what an update logs."""

    loss: Tensor
    masked_lm_loss: Tensor
    disc_loss: Tensor

    def plus(self, other: Losses) -> Losses:
        """The losses of both sets of rows, in new tensors."""
        return Losses(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class PretrainLosses(NamedTuple):
    """Some rows' share of the losses, and what an evaluation looks at.

    Only the losses carry a gradient: a compiled backward pass would fill one of zeros for the logits, V wide.
    """

    loss: Tensor  # scalar, what is minimised
    masked_lm_loss: Tensor  # scalar, nats a target
    disc_loss: Tensor  # scalar, nats a real token; 0 where there is no discriminator
    generator_logits: Tensor  # (B, P, V)
    sampled_ids: Tensor  # (B, P) int64
    detection: Detection | None  # None where there is no discriminator


def count(batch: Batch) -> Counts:
    """Count the targets and real tokens of a whole update; on the CPU, before anything is computed."""
    is_real = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
    return Counts(batch.is_target.sum(), is_real.sum())


def masked_lm_nats(logits: Tensor, original_ids: Tensor) -> Tensor:
    """(B, P, V) logits, (B, P) ids -> (B, P) negative log-likelihoods."""
    return F.cross_entropy(wide(logits).flatten(0, 1), original_ids.flatten(), reduction="none").view_as(original_ids)


def replaced_nats(logits: Tensor, is_replaced: Tensor) -> Tensor:
    """(B, L) logits and labels -> (B, L) binary cross-entropies."""
    logits = wide(logits)
    return F.binary_cross_entropy_with_logits(logits, is_replaced.to(logits.dtype), reduction="none")


def sum_where(nats: Tensor, chosen: Tensor | None) -> Tensor:
    """Sum the entries a mask of the same shape chooses, or all of them; static shapes, no wait for the device."""
    return nats.sum() if chosen is None else nats.masked_fill(~chosen, 0.0).sum()


def replaced_token_detection(
    model: Electra, batch: Batch, counts: Counts, gen_weight: float, disc_weight: float
) -> PretrainLosses:
    """ELECTRA's objective: the generator fills the targets, the discriminator tells which tokens are not original.

    The masked-LM loss is a mean over targets, the replaced-token loss over non-padding tokens. No gradient flows
    from the discriminator into the generator's own weights: samples are ids.

    Args:
        model: the tied pair.
        batch: the rows of this call, on the model's device.
        counts: of the global batch these rows are part of.
        gen_weight: of the masked-LM loss.
        disc_weight: lambda, of the replaced-token loss.

    Source: paper section 2; release run_pretraining.py:96-108, 183-285.
    """
    generator_logits = wide(model.generator(batch.masked, batch.positions, batch.attention_mask))
    sampled_ids = sample_replacements(generator_logits, batch.sample_uniforms)
    corrupted, is_replaced = corrupt(batch, sampled_ids)
    discriminator_logits = model.discriminator(corrupted, batch.attention_mask)

    original_ids = batch.input_ids.gather(1, batch.positions)
    gen_nats = masked_lm_nats(generator_logits, original_ids)
    disc_nats = replaced_nats(discriminator_logits, is_replaced)
    masked_lm_loss = sum_where(gen_nats, batch.is_target) / counts.num_targets
    disc_loss = sum_where(disc_nats, batch.attention_mask) / counts.num_tokens
    loss = gen_weight * masked_lm_loss + disc_weight * disc_loss
    detection = Detection(corrupted, is_replaced, discriminator_logits.detach())
    return PretrainLosses(loss, masked_lm_loss, disc_loss, generator_logits.detach(), sampled_ids, detection)


def masked_language_modeling(
    model: MaskedLM, batch: Batch, counts: Counts, gen_weight: float, disc_weight: float
) -> PretrainLosses:
    """The control: the generator's part of the objective alone, on an encoder of the discriminator's size.

    The arguments are those of `replaced_token_detection`; `disc_weight` has nothing to weigh.
    Source: release run_pretraining.py, `electra_objective: false` (BERT under the same masking).
    """
    logits = wide(model.generator(batch.masked, batch.positions, batch.attention_mask))
    nats = masked_lm_nats(logits, batch.input_ids.gather(1, batch.positions))
    masked_lm_loss = sum_where(nats, batch.is_target) / counts.num_targets
    sampled_ids = sample_replacements(logits, batch.sample_uniforms)
    loss, no_disc_loss = gen_weight * masked_lm_loss, torch.zeros_like(masked_lm_loss)
    return PretrainLosses(loss, masked_lm_loss, no_disc_loss, logits.detach(), sampled_ids, None)


Objective = Callable[[Any, Batch, Counts, float, float], PretrainLosses]
OBJECTIVES: dict[str, Objective] = {"rtd": replaced_token_detection, "mlm": masked_language_modeling}
