"""Pre-training against the release's own numbers: masking, losses, gradients and six updates; parameter counts.

Two terms of the release are not in this package (see `electra/DEPARTURES.md`) and are put in here, so that the rest
agrees to rounding: 1e-6 in both denominators of the losses, and a clip that adds nothing to the gradient norm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import get_total_norm

from electra import cli
from electra.config import PRETRAIN_RECIPES, EncoderConfig, PretrainConfig
from electra.model.networks import Electra, count_parameters
from electra.pretrain.masking import Batch, mask_tokens
from electra.pretrain.objective import Counts, count, replaced_token_detection
from electra.training.optimizer import apply_update, make_optimizer, parameter_groups, schedule_factor, set_update
from tests.conftest import generator_logits
from tests.helpers.release import RELEASE_IDS, load_release_weights, norms_and_probes, release_views, released

CPU = torch.device("cpu")
CONFIG = cli.build(PretrainConfig, {**PRETRAIN_RECIPES["official"], "num_train_steps": 20, "num_warmup_steps": 3})


def feed(step: int) -> dict[str, Any]:
    """Inputs and outputs of the release at one update."""
    numbers = released("pretrain.npz")
    prefixes = (f"feed{step}/", f"out{step}/", f"update{step}/")
    return {key.split("/")[1]: value for key, value in numbers.items() if key.startswith(prefixes)}


def masked_rows(told: dict[str, Any]) -> Batch:
    """The rows of an update, masked by our code at the release's targets."""
    ids = torch.from_numpy(told["input_ids"]).long()
    draws = torch.from_numpy(told["positions"]).long()
    scores = torch.ones(ids.shape, dtype=torch.float64)
    scores.scatter_(1, draws, torch.arange(draws.shape[1]).double().expand(draws.shape) / 100)
    chances = CONFIG.mask_prob, CONFIG.mask_token_prob
    masked = mask_tokens(ids, scores, torch.from_numpy(told["hide"]), RELEASE_IDS, *chances)
    return Batch(ids, ids != RELEASE_IDS.pad, *masked, torch.zeros(draws.shape, dtype=torch.float64))


@torch.no_grad()
def with_uniforms_of(batch: Batch, model: Electra, sampled: np.ndarray) -> Batch:
    """The batch with uniforms in the middle of the release's samples, by the generator's own probabilities."""
    logits = generator_logits(model, batch.masked_ids, batch.positions, batch.attention_mask)
    chances = logits.softmax(dim=-1)
    ids = torch.from_numpy(sampled).long()[..., None]
    middle = chances.cumsum(dim=-1).gather(-1, ids) - chances.gather(-1, ids) / 2
    return batch._replace(sample_uniforms=middle.squeeze(-1))


def test_rows_are_masked_as_the_release_masks_them():
    for step in range(6):
        told = feed(step)
        batch = masked_rows(told)
        assert np.array_equal(batch.is_target, told["mlm_weights"])
        assert np.array_equal(batch.positions * batch.is_target, told["masked_pos"])
        assert np.array_equal(batch.masked_ids, told["masked_ids"])
        originals = batch.input_ids.gather(1, batch.positions) * batch.is_target
        assert np.array_equal(originals, told["masked_lm_ids"])


def test_losses_logits_gradients_and_six_updates_are_the_releases():
    """The batch is cut into two micro-batches with different numbers of rows."""
    numbers = released("pretrain.npz")
    no_dropout: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_dropout_prob": 0.0}
    shape = EncoderConfig(vocab_size=200, num_layers=2, max_position_embeddings=64, **no_dropout)
    model = Electra(shape, CONFIG.generator_size).double()
    load_release_weights(model, numbers, 0.1)
    groups = parameter_groups(model.named_parameters(), CONFIG.weight_decay)
    optimizer = make_optimizer(groups, CONFIG.adam_beta1, CONFIG.adam_beta2, CONFIG.adam_epsilon)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    # Softmax does not feel the keys' biases: their gradients are rounding, here and there.
    names = [name for name in numbers["names"] if not name.endswith("key/bias")]
    kept = [name in names for name in numbers["names"]]
    for step in range(6):
        told = feed(step)
        batch = with_uniforms_of(masked_rows(told), model, told["sampled"])
        counts = Counts(*(number.double() + 1e-6 for number in count(batch)))
        parts = [
            replaced_token_detection(model, batch.rows(*rows, CPU), counts, CONFIG.gen_weight, CONFIG.disc_weight)
            for rows in ((0, 4), (4, 6))
        ]
        for part in parts:
            part.loss.backward()
        is_replaced = torch.cat([part.detection.is_replaced for part in parts])
        logits = torch.cat([part.detection.logits for part in parts])
        is_real = told["input_mask"] == 1
        assert np.array_equal(is_replaced, told["disc_labels"])
        np.testing.assert_allclose(logits[is_real], told["disc_logits"][is_real], rtol=0, atol=1e-11)
        assert sum(part.masked_lm_loss.item() for part in parts) == pytest.approx(told["mlm_loss"], rel=1e-11)
        assert sum(part.loss.item() for part in parts) == pytest.approx(told["total"], rel=1e-11)

        norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).item()
        if step == 0:
            views = release_views((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
            norms, probes = norms_and_probes(views, names)
            np.testing.assert_allclose(norms, numbers["grad_norm"][kept], rtol=1e-11)
            np.testing.assert_allclose(probes / norms, (numbers["grad_probe"] / numbers["grad_norm"])[kept], atol=1e-11)
            assert norm == pytest.approx(numbers["global_norm"], rel=1e-11)

        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        factor = schedule_factor(CONFIG.schedule, step, CONFIG.num_train_steps, CONFIG.num_warmup_steps)
        set_update(optimizer, CONFIG.learning_rate * factor, CONFIG.bias_correction)
        apply_update(optimizer, scaler, model.parameters(), CONFIG.max_grad_norm * (norm + 1e-6) / norm)
        views = release_views((name, p.detach() - before[name]) for name, p in model.named_parameters())
        norms, probes = norms_and_probes(views, names)
        np.testing.assert_allclose(norms, told["change_norm"][kept], rtol=1e-11)
        assert (abs(probes - told["change_probe"][kept]) <= 1e-11 * norms).all()
        assert (norms > 0).all() == (step > 0)  # the first update of a warm-up has rate 0


@pytest.mark.parametrize(
    ("generator_size", "generator_only", "joint"),
    [
        (0.125, 191_578, 13_740_635),
        (0.25, 647_162, 14_196_219),
        (0.5, 2_426_554, 15_975_611),
        (0.75, 5_418_618, 18_967_675),
        (1.0, 9_573_818, 23_122_875),
    ],
)
def test_each_generator_size_has_the_published_counts(generator_size: float, generator_only: int, joint: int):
    with torch.device("meta"):
        model = Electra(EncoderConfig(), generator_size)
    shared = count_parameters(model.generator.encoder.embeddings)
    assert (count_parameters(model.generator) - shared, count_parameters(model)) == (generator_only, joint)
    assert (shared, count_parameters(model.discriminator)) == (3_972_864, 13_549_057)
