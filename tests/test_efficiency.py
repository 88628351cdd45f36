"""FLOP counts equal torch's own counter, and the small size costs what the literature derives."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from electra.config import EncoderConfig
from electra.efficiency import update_flops
from electra.models import MaskedLM, initialize_weights
from electra.objective import OBJECTIVES, count
from electra.seeding import generator
from tests.conftest import tiny_batch, tiny_electra, tiny_shape


@pytest.mark.parametrize("generator_size", [0.5, 1.0])
@pytest.mark.parametrize("equal_widths", [False, True])
@pytest.mark.parametrize("objective", ["rtd", "mlm"])
def test_the_count_equals_torchs_counter(objective, equal_widths, generator_size):
    shape = tiny_shape(embedding_size=26 if equal_widths else 11)
    if objective == "rtd":
        model = tiny_electra(shape, generator_size)
    else:
        model = MaskedLM(shape).double()
        initialize_weights(model, generator(0, "init"), 0.2)
    batch = tiny_batch([23] * 3, 23)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        OBJECTIVES[objective](model, batch, count(batch), 1.0, 50.0).loss.backward()
    assert counter.get_total_flops() == update_flops(shape, generator_size, 23, 3, 3, objective)


def test_a_million_updates_of_the_small_size_are_1_15e18_flops():
    total = update_flops(EncoderConfig(), 0.25, 128, 19, 128, "rtd") * 1_000_000
    assert total == pytest.approx(1.150e18, rel=1e-3)
    assert total / (1_000_000 * 128 * 128) == pytest.approx(70.2e6, rel=1e-3)


def test_the_control_costs_less_an_update_so_it_gets_more_of_them():
    costs = [update_flops(EncoderConfig(), 0.25, 128, 19, 128, objective) for objective in ("rtd", "mlm")]
    assert costs[0] / costs[1] == pytest.approx(1.06, abs=0.02)
