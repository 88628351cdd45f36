"""Held-out metrics: the training objective itself on fixed rows and fixed noise, dropout off, sums in float64."""

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
from electra.pretrain.objective import Objective, count, masked_lm_nats, replaced_nats
from electra.scores.metrics import detection
from electra.scores.statistics import bootstrap_interval
from electra.training.devices import autocast

Array = npt.NDArray[Any]
_PIECE, _MAX_PIECES = 1 << 20, 128  # tokens that are counted at a time, and how often: under a second
ROWS_AT_A_TIME = 64  # fixed, so that no metric depends on the training batch or the ranks


class DiscriminatorOutputs(NamedTuple):
    """What the discriminator saw and answered, for every row."""

    nats: Array  # (B, L) float32
    logits: Array  # (B, L) float32
    is_replaced: Array  # (B, L) bool
    corrupted: Array  # (B, L) int64


class Outputs(NamedTuple):
    """What the networks answered for every row, as NumPy arrays."""

    gen_nats: Array  # (B, P) float32, negative log-likelihood of the original token
    is_correct: Array  # (B, P) bool, the likeliest token is the original
    is_sample_correct: Array  # (B, P) bool, the sampled token is the original
    token_cosine: Array  # (B,) float32, see `token_cosine`
    discriminator: DiscriminatorOutputs | None  # None where there is no discriminator


@torch.no_grad()
def compute_outputs(
    model: nn.Module, objective: Objective, batch: Batch, device: torch.device, dtype: torch.dtype
) -> Outputs:
    """Run the objective over all rows with dropout off; leaves the model in training mode."""
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
        gen_nats = masked_lm_nats(seen.generator_logits, original_ids)
        is_best = seen.generator_logits.argmax(dim=-1) == original_ids
        alike = token_cosine(states.pop(), rows.attention_mask)
        part = [gen_nats, is_best, seen.sampled_ids == original_ids, alike]
        if seen.detection is not None:
            corrupted, is_replaced, logits = seen.detection
            part += [replaced_nats(logits, is_replaced), logits.float(), is_replaced, corrupted]
        parts.append(part)
    model.train()
    hook.remove()
    nats, is_correct, is_sample_correct, cosine, *detected = (
        torch.cat(tensors).cpu().numpy() for tensors in zip(*parts, strict=True)
    )
    return Outputs(nats, is_correct, is_sample_correct, cosine, DiscriminatorOutputs(*detected) if detected else None)


def token_cosine(hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """(B, L, D) hidden states, (B, L) mask -> (B,) mean cosine between two different tokens of a row.

    Near 1 while a network tells tokens apart by nothing but their frequency, as on the plateau early in training.
    The cosines of n unit vectors, each with each, add up to the squared length of their sum.
    """
    units = F.normalize(wide(hidden), dim=-1)
    units = units if attention_mask is None else units * attention_mask[:, :, None]
    n = units.square().sum(dim=(1, 2))
    return (units.sum(dim=1).square().sum(dim=-1) - n) / (n * (n - 1))


def real_tokens(batch: Batch) -> Array:
    """(B, L) bool, True at tokens that are not padding."""
    return np.ones(batch.input_ids.shape, bool) if batch.attention_mask is None else batch.attention_mask.numpy()


def base_rate_entropy(replaced_fraction: float) -> float:
    """Nats a token of a discriminator that gives every token the same, right probability: the value to beat."""
    p = np.array([replaced_fraction, 1 - replaced_fraction])
    return float(-np.sum(p * np.log(p, where=p > 0, out=np.zeros(2))))


def held_out_metrics(predictions: Outputs, batch: Batch) -> dict[str, float]:
    """Every metric of the release's evaluation, over all targets and, as `masked_only_`, over those shown as [MASK].

    A target that is not masked only has to be copied: that gives about 15 % of `masked_lm_accuracy` for free.
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
        "mean_token_cosine": float(predictions.token_cosine.astype(np.float64).mean()),
    }
    if (discriminator := predictions.discriminator) is not None:
        is_real = real_tokens(batch)
        scores = detection(discriminator.logits[is_real], discriminator.is_replaced[is_real])
        found["disc_loss"] = mean(discriminator.nats, is_real)
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


def unigram_counts(shards: Shards, vocab_size: int) -> Array:
    """(V,) int64, how often each id occurs in the shards, or, of more than 134 M tokens, in pieces spread evenly."""
    pieces = [file[i : i + _PIECE] for file in shards.token_files for i in range(0, len(file), _PIECE)]
    chosen = pieces[:: -(-len(pieces) // _MAX_PIECES)]
    for piece in chosen:
        shards.check_ids(piece)
    return sum((np.bincount(piece, minlength=vocab_size) for piece in chosen), np.zeros(vocab_size, np.int64))


def unigram_loss(batch: Batch, counts: Array, special_ids: SpecialIds) -> float:
    """Cross-entropy, in nats, of the masked targets under the training text's frequencies, each counted once more.

    It is what `masked_only_lm_loss` is for a model that ignores the context.
    """
    smoothed = counts + 1.0
    smoothed[list(special_ids)] = 0.0  # never a target
    targets = batch.input_ids.gather(1, batch.positions)[batch.is_masked].numpy()
    return float(np.log(smoothed.sum()) - np.log(smoothed[targets]).mean())


class HeldOut:
    """One fixed batch of held-out rows, with its masks and samples, for every evaluation of a run.

    Args:
        batch: all rows.
        documents: (B,), the document of each row: the unit of the bootstrap.
        special_ids: ids that are never a target.
        counts: (V,), `unigram_counts` of the training shards.
    """

    def __init__(self, batch: Batch, documents: Sequence[int], special_ids: SpecialIds, counts: Array) -> None:
        self.batch = batch
        self._unigram_loss = unigram_loss(batch, counts, special_ids)
        units = np.unique(documents, return_inverse=True)[1]
        self._units = np.broadcast_to(units[:, None], batch.input_ids.shape)

    def evaluate(
        self, model: nn.Module, objective: Objective, device: torch.device, dtype: torch.dtype
    ) -> tuple[Outputs, dict[str, float]]:
        """The outputs for every row; and `held_out_metrics` with the AUC's interval and the unigram loss."""
        predictions = compute_outputs(model, objective, self.batch, device, dtype)
        found = {**held_out_metrics(predictions, self.batch), "unigram_loss": self._unigram_loss}
        if (discriminator := predictions.discriminator) is not None:
            is_real = real_tokens(self.batch)
            interval = auc_interval(
                discriminator.logits[is_real], discriminator.is_replaced[is_real], self._units[is_real]
            )
            found["disc_auc_low"], found["disc_auc_high"] = interval
        return predictions, found
