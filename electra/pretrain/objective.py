"""The objective of section 2 of the paper, and its control: networks and masked rows -> losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from electra.model.networks import Electra, MaskedLM, wide
from electra.pretrain.masking import Batch, corrupt, sample_replacements

TARGETS_AT_A_TIME = 256
"""Rows of logits that `FillTargets` holds on a CPU; torch 2.11 cannot compile the pieces, so CUDA holds all rows."""
ERROR_SCALE = 8.0
"""`FillTargets` multiplies the gradient of the logits by this before its cast to 16 bits, and `backward` divides by it.

Without it a rare word's gradient would become 0 in float16; a larger scale could overflow float16.
"""


class Counts(NamedTuple):
    """Denominators of the losses, from the *global* batch: losses of micro-batches and ranks then add up to one mean.

    They are tensors, because torch.compile would compile again for every new Python number.
    """

    num_targets: Tensor  # scalar int64
    num_tokens: Tensor  # scalar int64: real tokens, [CLS] and [SEP] included


class Detection(NamedTuple):
    """The discriminator's input, labels and output."""

    corrupted: Tensor  # (B, L) int64
    is_replaced: Tensor  # (B, L) bool
    logits: Tensor  # (B, L)


class PretrainLosses(NamedTuple):
    """The losses of some rows, and outputs for the evaluation. Only `loss` and its two parts have a gradient."""

    loss: Tensor  # scalar, the training loss
    masked_lm_loss: Tensor  # scalar, nats per target
    disc_loss: Tensor  # scalar, nats per real token; 0 without a discriminator
    target_nats: Tensor  # (B, P), float32 or wider, negative log-likelihoods of the original tokens
    best_ids: Tensor  # (B, P) int64, the likeliest tokens
    sampled_ids: Tensor  # (B, P) int64
    detection: Detection | None  # None without a discriminator


def count(batch: Batch) -> Counts:
    """Count the targets and real tokens of a whole update, on the CPU."""
    is_real = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
    return Counts(batch.is_target.sum(), is_real.sum())


class FillTargets(torch.autograd.Function):
    """The softmax over the vocabulary: loss and samples of N targets, on a CPU from some rows of logits at a time.

    The gradient of the logits is softmax minus one-hot. The forward pass computes it and the gradients of the three
    inputs; the backward pass multiplies these by the gradient of the sum. Matrix products are in the type of autocast,
    the softmax is in float32 or wider.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
        """(N, E) vectors, (V, E) table, (V,) bias -> sum of the targets' nats; (N,) nats, likeliest ids, sampled ids.

        `targets` are (N,) each: original ids, `is_target`, `sample_uniforms`. Only the sum has a gradient.
        """
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        low_hidden, low_table, low_bias = (tensor.to(dtype) for tensor in (hidden, table, bias))
        table_gradient, bias_gradient, parts = torch.zeros_like(table), torch.zeros_like(bias), []
        pieces = (t.split(len(t) if t.is_cuda else TARGETS_AT_A_TIME) for t in (low_hidden, *targets))
        for rows, ids, is_target, uniforms in zip(*pieces, strict=True):
            logits = wide(F.linear(rows, low_table, low_bias))
            log_probs = logits.log_softmax(dim=1)
            probs, log_prob = log_probs.exp(), log_probs.gather(1, ids[:, None])
            sampled_ids = sample_replacements(probs, uniforms)
            error = probs.scatter(1, ids[:, None], log_prob.expm1()) * (ERROR_SCALE * is_target[:, None])
            low_error = error.to(dtype)
            table_gradient += low_error.T @ rows
            bias_gradient += error.sum(dim=0)
            parts.append((-log_prob.squeeze(1), logits.argmax(dim=1), sampled_ids, low_error @ low_table))
        nats, best_ids, sampled_ids, hidden_gradient = (torch.cat(part) for part in zip(*parts, strict=True))
        ctx.save_for_backward(hidden_gradient.to(hidden.dtype), table_gradient, bias_gradient)
        ctx.mark_non_differentiable(nats, best_ids, sampled_ids)
        return sum_where(nats, targets[1]), nats, best_ids, sampled_ids

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply the gradients of the forward pass by the gradient of the sum."""
        return *(gradient / ERROR_SCALE * saved for saved in ctx.saved_tensors), None, None, None


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
    hidden = model.generator(batch.masked_ids, batch.positions, batch.attention_mask)
    original_ids = batch.input_ids.gather(1, batch.positions)
    softmax = model.generator.encoder.embeddings.word.weight, model.generator.bias
    targets = (values.flatten() for values in (original_ids, batch.is_target, batch.sample_uniforms))
    found = FillTargets.apply(hidden.flatten(0, 1), *softmax, *targets)  # type: ignore[no-untyped-call]
    masked_lm_loss = found[0] / counts.num_targets
    nats, best_ids, sampled_ids = (part.view_as(original_ids) for part in found[1:])
    no_loss = torch.zeros_like(masked_lm_loss)
    return PretrainLosses(gen_weight * masked_lm_loss, masked_lm_loss, no_loss, nats, best_ids, sampled_ids, None)


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
    detection = Detection(corrupted, is_replaced, logits.detach())
    return generated._replace(loss=generated.loss + disc_weight * disc_loss, disc_loss=disc_loss, detection=detection)


Objective = Callable[[Any, Batch, Counts, float, float], PretrainLosses]
OBJECTIVES: dict[str, Objective] = {"rtd": replaced_token_detection, "mlm": masked_language_modeling}
