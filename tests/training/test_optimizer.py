"""Groups, rates, schedules and the optimizer's arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from electra.model.networks import SequenceClassifier
from electra.training.optimizer import (
    apply_update,
    layerwise_rates,
    make_optimizer,
    parameter_groups,
    schedule_factor,
    set_update,
    updates_made,
)
from tests.conftest import tiny_electra, tiny_shape
from tests.helpers.oracles import adam_without_correction

NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)


def test_the_product_schedule_has_the_releases_values():
    rates = [
        5e-4 * schedule_factor("warmup_times_linear", t, 1_000_000, 10_000) for t in (0, 1, 100, 5_000, 10_000, 500_000)
    ]
    expected = [0.0, 5e-8 * (1 - 1e-6), 5e-6 * (1 - 1e-4), 2.4875e-4, 4.95e-4, 2.5e-4]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_the_sequential_schedule_warms_up_to_the_peak_then_falls_in_a_line_to_zero():
    def factor(step: int) -> float:
        return schedule_factor("warmup_then_linear", step, 1_000_000, 10_000)

    assert [factor(0), factor(5_000), factor(10_000)] == [0.0, 0.5, 1.0]
    assert factor(505_000) == pytest.approx(0.5, rel=1e-12)
    assert factor(1_000_000) == 0.0
    assert factor(999_999) == pytest.approx(1 / 990_000, rel=1e-9)


@pytest.mark.parametrize("schedule", ["warmup_then_linear", "warmup_times_linear"])
def test_schedules_without_warm_up_start_at_the_peak_and_never_go_below_zero(schedule):
    assert schedule_factor(schedule, 0, 7, 0) == 1.0
    assert schedule_factor(schedule, 9, 7, 0) == 0.0


def test_a_schedule_that_nobody_wrote_is_refused():
    with pytest.raises(
        ValueError, match="schedule: expected one of warmup_then_linear, warmup_times_linear, found 'x'"
    ):
        schedule_factor("x", 0, 7, 0)


def test_groups_partition_the_parameters_and_none_is_empty():
    model = tiny_electra()
    groups = parameter_groups(model.named_parameters(), 0.01)
    assert sorted(group["decay"] for group in groups) == [0.0, 0.01]
    grouped = [p.data_ptr() for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(p.data_ptr() for p in model.parameters())
    assert len(grouped) == len(set(grouped))
    assert all(group["params"] for group in groups)


def test_decay_spares_biases_and_layer_norms_and_nothing_else():
    model = tiny_electra()
    spared = {id(m.weight) for m in model.modules() if isinstance(m, nn.LayerNorm)}
    spared |= {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    groups = {group["decay"]: group["params"] for group in parameter_groups(model.named_parameters(), 0.01)}
    assert {id(p) for p in groups[0.0]} == spared
    assert id(model.generator.bias) in spared
    assert id(model.discriminator.encoder.embeddings.position.weight) not in spared


def one_weight(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.copy()))


@pytest.mark.parametrize("gradient_scale", [1.0, 1e-3, 1e-5])
def test_without_bias_correction_updates_equal_a_hand_written_adam(gradient_scale):
    draws = np.random.default_rng(0)
    start = draws.normal(size=(5, 3))
    gradients = [draws.normal(size=(5, 3)) * gradient_scale for _ in range(7)]
    rates = [1e-3 * (t + 1) for t in range(7)]
    weight = one_weight(start)
    optimizer = make_optimizer(parameter_groups([("w", weight)], 0.01), 0.9, 0.999, 1e-6)
    for gradient, rate in zip(gradients, rates, strict=True):
        set_update(optimizer, rate, bias_correction=False)
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
    expected = adam_without_correction(start, gradients, rates, 0.9, 0.999, 1e-6, 0.01)
    np.testing.assert_allclose(weight.detach().numpy() - start, expected - start, rtol=1e-10)


def test_with_bias_correction_updates_equal_torchs_adamw():
    draws = np.random.default_rng(0)
    start, gradients = draws.normal(size=(5, 3)), [draws.normal(size=(5, 3)) for _ in range(4)]
    ours, theirs = one_weight(start), one_weight(start)
    optimizer = make_optimizer(parameter_groups([("w", ours)], 0.01), 0.9, 0.98, 1e-6)
    reference = torch.optim.AdamW([theirs], lr=3e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=False)
    for gradient in gradients:
        set_update(optimizer, 3e-3, bias_correction=True)
        ours.grad, theirs.grad = torch.from_numpy(gradient), torch.from_numpy(gradient)
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_the_first_update_of_a_warm_up_moves_nothing():
    weight = one_weight(np.ones((2, 3)))
    optimizer = make_optimizer(parameter_groups([("w", weight)], 0.01), 0.9, 0.999, 1e-6)
    for bias_correction in (True, False):
        set_update(optimizer, 5e-4 * schedule_factor("warmup_then_linear", 0, 100, 10), bias_correction)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert torch.equal(weight.detach(), torch.ones(2, 3, dtype=torch.float64))


def test_one_clip_covers_both_networks():
    model = tiny_electra()
    optimizer = make_optimizer(parameter_groups(model.named_parameters(), 0.0), 0.9, 0.999, 1e-6)
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append([p.grad.clone() for p in model.parameters()]))
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.5)
    num = sum(p.numel() for p in model.parameters())
    set_update(optimizer, 1e-3, True)
    grad_norm, skipped = apply_update(optimizer, NO_SCALER, model.parameters(), 1.0)
    assert grad_norm.item() == pytest.approx(0.5 * math.sqrt(num))
    assert skipped.item() == 0.0
    clipped = math.sqrt(sum((g**2).sum().item() for g in seen[0]))
    assert clipped == pytest.approx(1.0, rel=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_a_norm_below_the_bound_is_left_alone():
    weight = one_weight(np.ones((2, 3)))
    optimizer = make_optimizer(parameter_groups([("w", weight)], 0.0), 0.9, 0.999, 1e-6)
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append(weight.grad.clone()))
    weight.grad = torch.full_like(weight, 0.1)
    apply_update(optimizer, NO_SCALER, [weight], 1.0)
    assert torch.equal(seen[0], torch.full((2, 3), 0.1, dtype=torch.float64))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_update_with_a_gradient_that_is_not_finite_is_skipped_and_counted(bad):
    weight = one_weight(np.ones((2, 3)))
    optimizer = make_optimizer(parameter_groups([("w", weight)], 0.01), 0.9, 0.999, 1e-6)
    for gradient, expected_skip, expected_count in ((1.0, 0.0, 1), (bad, 1.0, 1), (1.0, 0.0, 2)):
        before = weight.detach().clone()
        set_update(optimizer, 1e-2, True)
        weight.grad = torch.full_like(weight, 1.0)
        weight.grad[1, 2] = gradient
        _, skipped = apply_update(optimizer, NO_SCALER, [weight], 1.0)
        assert skipped.item() == expected_skip
        assert updates_made(optimizer) == expected_count
        assert torch.equal(weight.detach(), before) == bool(expected_skip)


@pytest.mark.parametrize(
    ("top_exponent", "top", "bottom", "embeddings"), [(1, 1, 12, 13), (2, 2, 13, 14), (0, 0, 11, 12)]
)
def test_layerwise_rates_are_the_papers_and_the_releases(top_exponent, top, bottom, embeddings):
    with torch.device("meta"):
        model = SequenceClassifier(tiny_shape(num_layers=12), 2, "mean", "mlp")
    names = [name for name, _ in model.named_parameters()]
    rates = layerwise_rates(names, 12, 0.8, top_exponent)
    assert set(rates) == set(names)
    assert rates["encoder.layers.11.attention.qkv.weight"] == pytest.approx(0.8**top)
    assert rates["encoder.layers.10.feed_forward.outer.bias"] == pytest.approx(0.8 ** (top + 1))
    assert rates["encoder.layers.0.attention_norm.weight"] == pytest.approx(0.8**bottom)
    assert rates["encoder.projection.weight"] == pytest.approx(0.8**embeddings)
    assert rates["encoder.embeddings.word.weight"] == pytest.approx(0.8**embeddings)
    assert {rates[n] for n in names if not n.startswith("encoder.")} == {1.0}


def test_layerwise_groups_scale_the_rate_and_not_the_decay():
    model = SequenceClassifier(tiny_shape(), 2, "mean", "mlp")
    named = list(model.named_parameters())
    rates = layerwise_rates([name for name, _ in named], 2, 0.8, 1)
    optimizer = make_optimizer(parameter_groups(named, 0.01, rates), 0.9, 0.999, 1e-6)
    set_update(optimizer, 3e-4, True)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    for name, parameter in named:
        lr, decay = found[id(parameter)]
        assert lr == pytest.approx(3e-4 * rates[name])
        assert decay == (0.01 if parameter.ndim == 2 else 0.0)
    assert all(group["params"] for group in optimizer.param_groups)
