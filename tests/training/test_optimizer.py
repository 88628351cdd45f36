"""Groups, rates, schedules, clipping. Updates without bias correction: the golden tests, on the release's numbers."""

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


def test_a_warm_up_may_end_within_an_update():
    def factor(schedule: str, step: int) -> float:
        return schedule_factor(schedule, step, 804, 80.4)

    assert factor("warmup_times_linear", 80) == pytest.approx(80 / 80.4 * (1 - 80 / 804), rel=1e-12)
    assert factor("warmup_times_linear", 81) == pytest.approx(1 - 81 / 804, rel=1e-12)
    assert factor("warmup_then_linear", 80) == pytest.approx(80 / 80.4, rel=1e-12)


@pytest.mark.parametrize("schedule", ["warmup_then_linear", "warmup_times_linear"])
def test_schedules_without_warm_up_start_at_the_peak_and_never_go_below_zero(schedule):
    assert [schedule_factor(schedule, step, 7, 0) for step in (0, 9)] == [1.0, 0.0]


def one_weight(values: np.ndarray) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.copy()))


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


@pytest.mark.parametrize("top_exponent", [0, 1, 2])  # 1 is the paper's, 2 the release's
def test_layerwise_rates_are_the_papers_and_the_releases(top_exponent):
    with torch.device("meta"):
        model = SequenceClassifier(tiny_shape(num_layers=12), 2, "mean", "mlp")
    names = [name for name, _ in model.named_parameters()]
    rates = layerwise_rates(names, 12, 0.8, top_exponent)
    assert set(rates) == set(names)
    for name, steps_below_the_top in {
        "encoder.layers.11.attention.qkv.weight": 0,
        "encoder.layers.10.feed_forward.outer.bias": 1,
        "encoder.layers.0.attention_norm.weight": 11,
        "encoder.projection.weight": 12,
        "encoder.embeddings.word.weight": 12,
    }.items():
        assert rates[name] == pytest.approx(0.8 ** (top_exponent + steps_below_the_top)), name
    assert {rates[n] for n in names if not n.startswith("encoder.")} == {1.0}
