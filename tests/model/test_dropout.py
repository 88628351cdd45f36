"""Dropout of 16 bits a decision: its chance, its scale, its gradient, and where its bits come from."""

from __future__ import annotations

import pytest
import torch

from electra.model.dropout import Dropout, drop
from electra.training.devices import seed_dropout


@pytest.mark.parametrize(("prob", "num_dropped"), [(0.1, 6554), (0.37, 24248), (0.5, 32768)])
def test_a_value_is_dropped_with_the_nearest_chance_in_65_536ths(prob, num_dropped):
    torch.manual_seed(0)
    kept = drop(torch.ones(4_000_003), prob) != 0
    chance = num_dropped / 65_536
    standard_error = (chance * (1 - chance) / 4_000_003) ** 0.5
    assert abs((~kept).double().mean().item() - chance) < 5 * standard_error  # false alarm: 6e-7


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_kept_is_scaled_so_that_the_expectation_stays(dtype):
    torch.manual_seed(0)
    dropped = drop(torch.full((31, 37), 3.0, dtype=dtype), 0.1)
    kept = dropped[dropped != 0]
    assert dropped.dtype == dtype
    torch.testing.assert_close(
        kept, torch.full_like(kept, 3 / (1 - 6554 / 65_536)), rtol=torch.finfo(dtype).eps * 2, atol=0
    )


def test_each_value_has_its_own_16_bits():
    torch.manual_seed(0)
    kept = (drop(torch.ones(65_537, 4), 0.5) != 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)  # the four decisions that share one 64-bit draw
    assert correlation.abs().max() < 5 / 65_537**0.5  # false alarm: below 4e-6 over six pairs
    assert (kept.mean(dim=0) - 0.5).abs().max() < 5 * 0.5 / 65_537**0.5


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_any_number_of_values_can_be_dropped(count):
    assert drop(torch.ones(count), 0.5).shape == (count,)


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(0)
    values = torch.randn(13, 17, dtype=torch.float64, requires_grad=True)
    dropped = drop(values, 0.3)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, (dropped / values).detach())
    assert 0 < (values.grad == 0).sum() < values.numel()


def test_the_bits_are_those_of_torchs_seeded_generator():
    draws = []
    for place in ((0, 1), (0, 1), (0, 2)):
        seed_dropout(0, *place)
        draws.append(drop(torch.ones(31), 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_nothing_is_dropped_or_drawn_at_chance_0_or_in_evaluation():
    values, before = torch.randn(5, 7), torch.get_rng_state()
    assert torch.equal(drop(values, 0.0), values)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(torch.get_rng_state(), before)
