"""Held-out metrics: the training objective itself on fixed rows and fixed noise, dropout off, sums in float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from electra.ids import SpecialIds
from electra.pretrain.masking import Batch
from electra.pretrain.objective import Objective, count, masked_lm_nats, replaced_nats
from electra.scores.metrics import detection
from electra.scores.statistics import bootstrap_interval
from electra.training.devices import autocast

Array = npt.NDArray[Any]
ROWS_AT_A_TIME = 64  # fixed, so that no metric depends on the training batch or the ranks


class Verdicts(NamedTuple):
    """What the discriminator saw and said of every row."""

    nats: Array  # (B, L) float32
    logits: Array  # (B, L) float32
    is_replaced: Array  # (B, L) bool
    corrupted: Array  # (B, L) int64


class Outputs(NamedTuple):
    """What the networks said of every row, as NumPy arrays."""

    gen_nats: Array  # (B, P) float32, negative log-likelihood of the original token
    is_correct: Array  # (B, P) bool, the likeliest token is the original
    is_sample_correct: Array  # (B, P) bool, the sampled token is the original
    verdicts: Verdicts | None  # None where there is no discriminator


@torch.no_grad()
def compute_outputs(
    model: nn.Module, objective: Objective, batch: Batch, device: torch.device, dtype: torch.dtype
) -> Outputs:
    """Run the objective over all rows with dropout off; leaves the model in training mode."""
    model.eval()
    generated: list[tuple[Tensor, ...]] = []
    verdicts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(batch.input_ids), ROWS_AT_A_TIME):
        rows = batch.rows(start, start + ROWS_AT_A_TIME, device)
        with autocast(device, dtype):
            seen = objective(model, rows, count(batch), 1.0, 1.0)
        original_ids = rows.input_ids.gather(1, rows.positions)
        nats = masked_lm_nats(seen.generator_logits, original_ids)
        generated.append((nats, seen.generator_logits.argmax(dim=-1) == original_ids, seen.sampled_ids == original_ids))
        if seen.detection is not None:
            corrupted, is_replaced, logits = seen.detection
            verdicts.append((replaced_nats(logits, is_replaced), logits.float(), is_replaced, corrupted))
    model.train()
    nats, is_correct, is_sample_correct = _joined(generated)
    return Outputs(nats, is_correct, is_sample_correct, Verdicts(*_joined(verdicts)) if verdicts else None)


def _joined(parts: Iterable[tuple[Tensor, ...]]) -> Any:
    return [torch.cat(tensors).cpu().numpy() for tensors in zip(*parts, strict=True)]


def real_tokens(batch: Batch) -> Array:
    """(B, L) bool, True at tokens that are not padding."""
    return np.ones(batch.input_ids.shape, bool) if batch.attention_mask is None else batch.attention_mask.numpy()


def base_rate_entropy(replaced_fraction: float) -> float:
    """Nats a token that an always-"original" discriminator of the right confidence loses: its floor to beat."""
    p = np.array([replaced_fraction, 1 - replaced_fraction])
    return float(-np.sum(p * np.log(p, where=p > 0, out=np.zeros(2))))


def held_out_metrics(predictions: Outputs, batch: Batch) -> dict[str, float]:
    """Every metric of the release's evaluation, over all targets and, with `hidden_`, over [MASK]ed ones alone.

    A visible target is a copying exercise: about 15 % of `masked_lm_accuracy` is free.
    Source: release run_pretraining.py:131-161; disc_loss is a mean over tokens, the AUC is exact.
    """
    is_target, is_masked = batch.is_target.numpy(), batch.is_masked.numpy()

    def mean(values: Array, chosen: Array) -> float:
        return float(values[chosen].astype(np.float64).mean())

    found = {
        "masked_lm_loss": mean(predictions.gen_nats, is_target),
        "masked_lm_accuracy": mean(predictions.is_correct, is_target),
        "sampled_masked_lm_accuracy": mean(predictions.is_sample_correct, is_target),
        "masked_only_lm_loss": mean(predictions.gen_nats, is_masked),
        "masked_only_lm_accuracy": mean(predictions.is_correct, is_masked),
    }
    if (verdicts := predictions.verdicts) is not None:
        is_real = real_tokens(batch)
        scores = detection(verdicts.logits[is_real], verdicts.is_replaced[is_real])
        found["disc_loss"] = mean(verdicts.nats, is_real)
        found["disc_base_rate_entropy"] = base_rate_entropy(scores["replaced_fraction"])
        found |= scores
    return found


def auc_interval(scores: Array, labels: Array, units: Array, num_resamples: int = 200) -> tuple[float, float]:
    """Bootstrap interval of the AUC over independent units (documents), the same resamples at every call.

    Args:
        scores: (N,), higher means more likely replaced.
        labels: (N,) bool.
        units: (N,) int, which unit each token belongs to, from 0.
    """
    values, place = np.unique(scores, return_inverse=True)

    def auc(resample: Array) -> float:
        weights = np.bincount(resample, minlength=units.max() + 1)[units]
        positive = np.bincount(place, weights * labels, len(values))
        negative = np.bincount(place, weights * ~labels, len(values))
        below = np.cumsum(negative) - negative / 2
        num_pairs = positive.sum() * negative.sum()
        return float(positive @ below / num_pairs) if num_pairs else 0.5

    return bootstrap_interval(auc, int(units.max()) + 1, num_resamples=num_resamples)


def unigram_entropy(token_ids: Array) -> float:
    """Nats a token of the best predictor that ignores context: the entropy of the tokens' own frequencies."""
    frequencies = np.unique(token_ids, return_counts=True)[1] / token_ids.size
    return float(-np.sum(frequencies * np.log(frequencies)))


class HeldOut:
    """One fixed batch of held-out rows, with its masks and samples, for every evaluation of a run.

    Args:
        batch: all rows.
        documents: (B,), the document of each row: the unit of the bootstrap.
        special_ids: left out of the unigram entropy.
    """

    def __init__(self, batch: Batch, documents: Sequence[int], special_ids: SpecialIds) -> None:
        self.batch = batch
        is_text = ~np.isin(batch.input_ids.numpy(), special_ids)
        self._unigram_entropy = unigram_entropy(batch.input_ids.numpy()[is_text])
        units = np.unique(documents, return_inverse=True)[1]
        self._units = np.broadcast_to(units[:, None], batch.input_ids.shape)

    def evaluate(
        self, model: nn.Module, objective: Objective, device: torch.device, dtype: torch.dtype
    ) -> tuple[Outputs, dict[str, float]]:
        """What the model says of every row; and `held_out_metrics`, the AUC's interval and the unigram entropy."""
        predictions = compute_outputs(model, objective, self.batch, device, dtype)
        found = {**held_out_metrics(predictions, self.batch), "unigram_entropy": self._unigram_entropy}
        if (verdicts := predictions.verdicts) is not None:
            is_real = real_tokens(self.batch)
            interval = auc_interval(verdicts.logits[is_real], verdicts.is_replaced[is_real], self._units[is_real])
            found["disc_auc_low"], found["disc_auc_high"] = interval
        return predictions, found
