"""Held-out metrics: the training objective on fixed rows with fixed random numbers, without dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.data.shards import Shards
from electra.ids import SpecialIds
from electra.model.networks import wide
from electra.pretrain.masking import Batch
from electra.pretrain.objective import Objective, count, replaced_nats
from electra.scores.metrics import detection
from electra.scores.statistics import bootstrap_interval
from electra.training.devices import autocast

Array = npt.NDArray[Any]
_PIECE, _MAX_PIECES = 1 << 20, 128  # `unigram_counts` reads up to 128 pieces of 1 M tokens
ROWS_AT_A_TIME = 64  # fixed, so that no metric depends on the training batch or the ranks


class DiscriminatorOutputs(NamedTuple):
    """The discriminator's input, labels and results for all rows."""

    nats: Array  # (B, L) float32, cross-entropy of each token
    logits: Array  # (B, L) float32
    is_replaced: Array  # (B, L) bool
    corrupted: Array  # (B, L) int64


class Outputs(NamedTuple):
    """Outputs of the networks for all rows."""

    gen_nats: Array  # (B, P) float32, negative log-likelihood of the original token
    is_correct: Array  # (B, P) bool, True if the most likely token is the original
    is_sample_correct: Array  # (B, P) bool, True if the sampled token is the original
    token_cosine: Array  # (B,) float32, see `token_cosine`
    discriminator: DiscriminatorOutputs | None  # None without a discriminator


@torch.no_grad()
def compute_outputs(
    model: nn.Module, objective: Objective, batch: Batch, device: torch.device, dtype: torch.dtype
) -> Outputs:
    """Return the outputs for all rows, without dropout; the model is in training mode afterwards."""
    encoder = model.get_submodule("discriminator.encoder" if hasattr(model, "discriminator") else "generator.encoder")
    parts: list[list[Tensor]] = []
    states: list[Tensor] = []
    hook = encoder.register_forward_hook(lambda module, inputs, hidden: states.append(hidden))
    model.eval()
    for start in range(0, len(batch.input_ids), ROWS_AT_A_TIME):
        rows = batch.rows(start, start + ROWS_AT_A_TIME, device)
        with autocast(device, dtype):
            seen = objective(model, rows, count(batch), 1.0, 1.0)
        original_ids = rows.input_ids.gather(1, rows.positions)
        cosine = token_cosine(states.pop(), rows.attention_mask)
        part = [seen.target_nats, seen.best_ids == original_ids, seen.sampled_ids == original_ids, cosine]
        if seen.detection is not None:
            corrupted, is_replaced, logits = seen.detection
            part += [replaced_nats(logits, is_replaced), logits.float(), is_replaced, corrupted]
        parts.append(part)
    model.train()
    hook.remove()
    arrays = [torch.cat(tensors).cpu().numpy() for tensors in zip(*parts, strict=True)]
    discriminator = DiscriminatorOutputs(*arrays[4:]) if arrays[4:] else None
    return Outputs(arrays[0], arrays[1], arrays[2], arrays[3], discriminator)


def token_cosine(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return the mean cosine of the vectors of two different tokens of a row: (B, L, D), (B, L) mask -> (B,).

    The mean is 1 if all tokens of a row point in one direction. Method: the cosines of all pairs of n unit vectors,
    self-pairs included, add up to the squared length of the vectors' sum.
    """
    units = F.normalize(wide(hidden), dim=-1)
    units = units if attention_mask is None else units * attention_mask[:, :, None]
    n = units.square().sum(dim=(1, 2))
    return (units.sum(dim=1).square().sum(dim=-1) - n) / (n * (n - 1))


def real_tokens(batch: Batch) -> Array:
    """Return (B, L) bool, True at tokens that are not padding."""
    return np.ones(batch.input_ids.shape, bool) if batch.attention_mask is None else batch.attention_mask.numpy()


def base_rate_entropy(replaced_fraction: float) -> float:
    """Return the loss, in nats per token, of a discriminator that predicts the replaced fraction for every token."""
    from scipy.special import entr

    return float(entr(replaced_fraction) + entr(1 - replaced_fraction))


def held_out_metrics(outputs: Outputs, batch: Batch) -> dict[str, float]:
    """Return the release's metrics for all targets, and `masked_only_...` metrics for the targets shown as [MASK].

    A visible target can be copied from the input; copying alone gives a `masked_lm_accuracy` of about 15 %.
    Source: release run_pretraining.py:131-161; here disc_loss is a mean over tokens, and the AUC is exact.
    """
    is_target, is_masked = batch.is_target.numpy(), batch.is_masked.numpy()

    def mean(values: Array, chosen: Array) -> float:
        return float(values[chosen].astype(np.float64).mean())

    found = {
        "masked_lm_loss": mean(outputs.gen_nats, is_target),
        "masked_lm_accuracy": mean(outputs.is_correct, is_target),
        "sampled_masked_lm_accuracy": mean(outputs.is_sample_correct, is_target),
        "masked_only_lm_loss": mean(outputs.gen_nats, is_masked),
        "masked_only_lm_accuracy": mean(outputs.is_correct, is_masked),
        "mean_token_cosine": float(outputs.token_cosine.astype(np.float64).mean()),
    }
    if (discriminator := outputs.discriminator) is not None:
        is_real = real_tokens(batch)
        found["disc_loss"] = mean(discriminator.nats, is_real)
        found |= detection(discriminator.logits[is_real], discriminator.is_replaced[is_real])
        found["disc_base_rate_entropy"] = base_rate_entropy(found["replaced_fraction"])
    return found


def auc_interval(scores: Array, labels: Array, units: Array) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the AUC of (N,) scores for (N,) bool labels; calls share the resamples.

    `units` (N,) int is the number, from 0, of each token's document: documents are independent, tokens are not.
    """
    values, place = np.unique(scores, return_inverse=True)

    def auc(resample: Array) -> float:
        weights = np.bincount(resample, minlength=units.max() + 1)[units]
        positive = np.bincount(place, weights * labels, len(values))
        negative = np.bincount(place, weights * ~labels, len(values))
        below = np.cumsum(negative) - negative / 2
        num_pairs = positive.sum() * negative.sum()
        return float(positive @ below / num_pairs) if num_pairs else 0.5

    return bootstrap_interval(auc, int(units.max()) + 1, num_resamples=200)


def unigram_counts(shards: Shards, vocab_size: int) -> Array:
    """Return (V,) int64 counts of the ids in the shards; above 134 M tokens, of at most 128 pieces, evenly spaced."""
    pieces = [file[i : i + _PIECE] for file in shards.token_files for i in range(0, len(file), _PIECE)]
    counts = np.zeros(vocab_size, np.int64)
    for piece in pieces[:: -(-len(pieces) // _MAX_PIECES)]:
        shards.check_ids(piece)
        counts += np.bincount(piece, minlength=vocab_size)
    return counts


def unigram_loss(batch: Batch, counts: Array, special_ids: SpecialIds) -> float:
    """Return the cross-entropy, in nats, of the masked targets under the training text's frequencies, `counts` + 1.

    This is the `masked_only_lm_loss` of a model that ignores the context.
    """
    smoothed = counts + 1.0
    smoothed[list(special_ids)] = 0.0  # never a target
    targets = batch.input_ids.gather(1, batch.positions)[batch.is_masked].numpy()
    return float(np.log(smoothed.sum()) - np.log(smoothed[targets]).mean())


class HeldOut:
    """One batch of held-out rows with fixed masks and samples, for all evaluations of a run.

    `documents` (B,) is the document of each row; `counts` (V,) are the `unigram_counts` of the training shards.
    """

    def __init__(self, batch: Batch, documents: Sequence[int], special_ids: SpecialIds, counts: Array) -> None:
        self.batch = batch
        self._unigram_loss = unigram_loss(batch, counts, special_ids)
        self._units = np.broadcast_to(np.unique(documents, return_inverse=True)[1][:, None], batch.input_ids.shape)

    def evaluate(
        self, model: nn.Module, objective: Objective, device: torch.device, dtype: torch.dtype
    ) -> tuple[Outputs, dict[str, float]]:
        """Return the outputs for all rows, and `held_out_metrics` with the AUC's interval and the unigram loss."""
        outputs = compute_outputs(model, objective, self.batch, device, dtype)
        found = {**held_out_metrics(outputs, self.batch), "unigram_loss": self._unigram_loss}
        if outputs.discriminator is not None:
            is_real = real_tokens(self.batch)
            logits, is_replaced = outputs.discriminator.logits[is_real], outputs.discriminator.is_replaced[is_real]
            found["disc_auc_low"], found["disc_auc_high"] = auc_interval(logits, is_replaced, self._units[is_real])
        return outputs, found
