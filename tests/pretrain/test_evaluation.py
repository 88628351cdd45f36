"""Held-out metrics equal an independent computation, and do not move."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from electra.data.shards import Shards, write_shard
from electra.files import FormatError
from electra.model.networks import MaskedLM, initialize_weights
from electra.pretrain import evaluation
from electra.pretrain.collapse import is_collapsed
from electra.pretrain.evaluation import (
    ROWS_AT_A_TIME,
    HeldOut,
    auc_interval,
    base_rate_entropy,
    compute_outputs,
    held_out_metrics,
    unigram_counts,
    unigram_loss,
)
from electra.pretrain.objective import count, masked_language_modeling, replaced_token_detection
from electra.scores.metrics import roc_auc
from electra.seeding import random_stream
from tests.conftest import SPECIAL_IDS, generator_logits, tiny_batch, tiny_electra, tiny_shape
from tests.helpers.oracles import auc_by_pairs

CPU = torch.device("cpu")
VOCAB_SIZE = tiny_shape().vocab_size
LENGTHS = [23, 11, 5, 17, 23, 3, 19] * 11  # 77 rows: more than one piece


def metrics_by_hand(model, batch):
    """Row by row, token by token, in Python floats."""
    hidden = []
    model.discriminator.encoder.register_forward_hook(lambda module, inputs, output: hidden.append(output.detach()))
    seen = replaced_token_detection(model.eval(), batch, count(batch), 1.0, 1.0)
    logits = generator_logits(model, batch.masked_ids, batch.positions, batch.attention_mask)
    log_probs = logits.log_softmax(dim=-1).detach()
    sums = dict.fromkeys(("n", "nats", "right", "sampled", "hidden", "hidden_nats", "hidden_right"), 0.0)
    disc = dict.fromkeys(("n", "nats", "right", "called", "caught", "fake"), 0.0)
    scores, labels = [], []
    for row, length in enumerate(LENGTHS):
        for slot in range(batch.positions.shape[1]):
            if not batch.is_target[row, slot]:
                continue
            original = batch.input_ids[row, batch.positions[row, slot]].item()
            nats = -log_probs[row, slot, original].item()
            right = float(log_probs[row, slot].argmax().item() == original)
            sums["n"] += 1
            sums["nats"] += nats
            sums["right"] += right
            sums["sampled"] += seen.sampled_ids[row, slot].item() == original
            if batch.is_masked[row, slot]:
                sums["hidden"] += 1
                sums["hidden_nats"] += nats
                sums["hidden_right"] += right
        for position in range(length):
            logit = seen.detection.logits[row, position].item()
            fake = seen.detection.corrupted[row, position].item() != batch.input_ids[row, position].item()
            disc["n"] += 1
            disc["nats"] += math.log1p(math.exp(-logit if fake else logit))
            disc["right"] += (logit > 0) == fake
            disc["called"] += logit > 0
            disc["caught"] += logit > 0 and fake
            disc["fake"] += fake
            scores.append(logit)
            labels.append(fake)
    cosines = []
    for row, length in enumerate(LENGTHS):
        units = [vector / vector.norm() for vector in hidden[0][row, :length].double()]
        of_row = [float(one @ other) for i, one in enumerate(units) for other in units[:i]]
        cosines.append(sum(of_row) / len(of_row))
    rate = disc["fake"] / disc["n"]
    return {
        "masked_lm_loss": sums["nats"] / sums["n"],
        "masked_lm_accuracy": sums["right"] / sums["n"],
        "sampled_masked_lm_accuracy": sums["sampled"] / sums["n"],
        "masked_only_lm_loss": sums["hidden_nats"] / sums["hidden"],
        "masked_only_lm_accuracy": sums["hidden_right"] / sums["hidden"],
        "mean_token_cosine": sum(cosines) / len(cosines),
        "disc_loss": disc["nats"] / disc["n"],
        "disc_base_rate_entropy": -rate * math.log(rate) - (1 - rate) * math.log(1 - rate),
        "disc_accuracy": disc["right"] / disc["n"],
        "disc_precision": disc["caught"] / disc["called"],
        "disc_recall": disc["caught"] / disc["fake"],
        "disc_auc": auc_by_pairs(scores, labels),
        "replaced_fraction": rate,
    }


def test_every_metric_equals_a_count_by_hand():
    model, batch = tiny_electra(), tiny_batch(LENGTHS, 23)
    assert len(LENGTHS) > ROWS_AT_A_TIME
    found = held_out_metrics(compute_outputs(model, replaced_token_detection, batch, CPU, torch.float32), batch)
    assert found == pytest.approx(metrics_by_hand(model, batch), abs=1e-6)


def test_the_control_has_the_generators_metrics_alone():
    model = MaskedLM(tiny_shape())
    initialize_weights(model, random_stream(0, "init"), 0.2)
    batch = tiny_batch(LENGTHS, 23)
    held_out = HeldOut(batch, list(range(len(LENGTHS))), SPECIAL_IDS, np.zeros(VOCAB_SIZE, np.int64))
    predictions, found = held_out.evaluate(model.double(), masked_language_modeling, CPU, torch.float32)
    assert predictions.discriminator is None
    assert {"masked_lm_loss", "unigram_loss", "mean_token_cosine"} <= set(found)
    assert not [name for name in found if name.startswith("disc")]
    assert not is_collapsed([{"step": step, **found} for step in (1, 2, 3)], 0)


def test_evaluation_switches_dropout_off_and_training_back_on():
    shape = tiny_shape(hidden_dropout_prob=0.5)
    model, batch = tiny_electra(shape), tiny_batch(LENGTHS, 23)
    first = held_out_metrics(compute_outputs(model, replaced_token_detection, batch, CPU, torch.float32), batch)
    assert model.training
    assert held_out_metrics(compute_outputs(model, replaced_token_detection, batch, CPU, torch.float32), batch) == first


@pytest.mark.parametrize(("rate", "nats"), [(0.08, 0.279), (0.12, 0.367), (0.0, 0.0), (1.0, 0.0)])
def test_the_base_rate_entropy_is_what_always_original_scores(rate, nats):
    assert base_rate_entropy(rate) == pytest.approx(nats, abs=5e-4)


def test_the_unigram_loss_is_that_of_the_masked_tokens_under_the_training_texts_frequencies():
    batch = tiny_batch(LENGTHS, 23)
    counts = np.arange(VOCAB_SIZE) ** 2
    masked = batch.input_ids[batch.masked_ids == SPECIAL_IDS.mask].tolist()
    total = sum(n * n + 1 for n in range(4, VOCAB_SIZE))
    expected = sum(math.log(total / (n * n + 1)) for n in masked) / len(masked)
    assert unigram_loss(batch, counts, SPECIAL_IDS) == pytest.approx(expected, rel=1e-12)


def test_unigrams_are_counted_over_all_files_or_over_pieces_spread_evenly(tmp_path, monkeypatch):
    files = [np.array([5, 5, 9, 4, 4, 4, 7], np.uint16), np.array([9, 9, 8, 8, 6], np.uint16)]
    shards = Shards(tmp_path, [write_shard(tmp_path, f"train-{n}", [file]) for n, file in enumerate(files)], "")
    assert unigram_counts(shards, 11).tolist() == [0, 0, 0, 0, 3, 2, 1, 1, 2, 3, 0]
    monkeypatch.setattr(evaluation, "_PIECE", 2)
    assert unigram_counts(shards, 11).tolist() == [0, 0, 0, 0, 3, 2, 1, 1, 2, 3, 0]
    monkeypatch.setattr(evaluation, "_MAX_PIECES", 3)  # of 55, 94, 44, 7, 99, 88, 6: the first, fourth and seventh
    assert unigram_counts(shards, 11).tolist() == [0, 0, 0, 0, 0, 2, 1, 1, 0, 0, 0]
    shards.vocab_size = 7
    with pytest.raises(FormatError, match=rf"{tmp_path}: expected ids below 7, found 7; find the damaged file with"):
        unigram_counts(shards, 7)


def test_one_resample_of_the_units_themselves_gives_the_plain_auc(monkeypatch):
    draws = np.random.default_rng(0)
    labels, scores = draws.random(101) < 0.3, draws.normal(size=101).round(1)
    found = []
    monkeypatch.setattr(
        "electra.pretrain.evaluation.bootstrap_interval",
        lambda statistic, num_units, num_resamples: found.append(statistic(np.arange(num_units))) or (0.0, 0.0),
    )
    auc_interval(scores, labels, np.arange(101))
    assert found == [pytest.approx(roc_auc(scores, labels), abs=1e-12)]


def test_the_interval_resamples_documents_and_not_tokens():
    # each document is wholly right or wholly wrong: over tokens the interval would be five times narrower
    draws = np.random.default_rng(1)
    labels = np.tile(np.arange(50) < 10, 40)
    right = np.repeat(draws.random(40) < 0.5, 50)
    scores = np.where(right, labels, ~labels).astype(float)
    low, high = auc_interval(scores, labels, np.repeat(np.arange(40), 50))
    assert high - low > 0.2


def test_the_unit_of_the_interval_is_the_document_and_not_the_row(monkeypatch):
    found = []
    monkeypatch.setattr(evaluation, "auc_interval", lambda scores, labels, units: found.append(units) or (0.4, 0.6))
    held_out = HeldOut(tiny_batch([5, 3, 4], 5), [70, 20, 70], SPECIAL_IDS, np.zeros(VOCAB_SIZE, np.int64))
    held_out.evaluate(tiny_electra(), replaced_token_detection, CPU, torch.float32)
    assert [units.tolist() for units in found] == [[1] * 5 + [0] * 3 + [1] * 4]


def evaluations(*rows: tuple[int, float, float]) -> list[dict[str, float]]:
    """Records of (step, upper end of the AUC's interval, disc_loss over the base-rate entropy)."""
    return [
        {"step": step, "disc_auc_high": high, "disc_loss": 0.4 * share, "disc_base_rate_entropy": 0.4}
        for step, high, share in rows
    ]


def test_three_blind_evaluations_in_a_row_after_warm_up_are_a_collapse():
    blind = [(step, 0.52, 1.0) for step in (30, 40, 50)]
    assert is_collapsed(evaluations((20, 0.8, 0.7), *blind), num_warmup_steps=10)
    assert not is_collapsed(evaluations(*blind[:2]), num_warmup_steps=10)
    assert not is_collapsed(evaluations(*blind), num_warmup_steps=30)  # one of them is not past warm-up
    assert not is_collapsed(evaluations(*blind, (60, 0.54, 1.0)), num_warmup_steps=10)
    assert not is_collapsed(evaluations(*blind[:2], (50, 0.52, 0.97)), num_warmup_steps=10)
