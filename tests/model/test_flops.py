"""FLOP counts equal torch's own counter, and the small size costs what the literature derives."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from electra.config import EncoderConfig
from electra.model.flops import (
    device_tflops,
    hardware_pfs_days,
    parameter_blocks,
    pfs_days,
    release_update_flops,
    update_flops,
)
from electra.model.networks import MaskedLM, count_parameters, initialize_weights
from electra.pretrain.objective import OBJECTIVES, count
from electra.seeding import random_stream
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
        initialize_weights(model, random_stream(0, "init"), 0.2)
    batch = tiny_batch([23] * 3, 23)
    assert model.training
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        OBJECTIVES[objective](model, batch, count(batch), 1.0, 50.0).loss.backward()
    assert counter.get_total_flops() == update_flops(shape, generator_size, 23, 3, 3, objective)


def test_the_releases_count_of_the_small_size_is_1_294e18_with_look_ups_as_products():
    """A multiply-add is two operations, an exp one; dropout 4, LayerNorm 5, GELU 8 and softmax 5 an element."""
    length, tokens, V, E, D = 128, 128 * 128 * 1_000_000, 30_522, 128, 256

    def layer(width: int, heads: int) -> int:
        inner = 4 * width
        products = 2 * (3 * width * width + width * width + 2 * width * inner) + 2 * (2 * width * length)
        softmax, dropout, scale = 5 * length * heads, 4 * length * heads, length * heads
        biases, residuals = 3 * width + width + inner + width, 2 * width
        return products + softmax + dropout + scale + biases + residuals + 2 * 4 * width + 8 * inner + 5 * (1 + width)

    def embeddings(width: int) -> int:
        return 2 * E * V + 2 * E * (length + 2) + 2 * E + 5 * E + 4 * E + 2 * E * width + width

    generator_head = 20 / 128 * (2 * 64 * E + E + 8 * E + 5 * E + 2 * E * V + 5 * V + 2 * V)
    discriminator_head = 2 * D * D + D + 8 * D + 2 * D
    generator = 12 * layer(64, 1) + embeddings(64) + generator_head
    discriminator = 12 * layer(D, 4) + embeddings(D) + discriminator_head
    total = 2 * tokens * (generator + discriminator)  # the backward pass costs one forward pass
    assert release_update_flops(EncoderConfig(), 0.25, length, 128, "rtd") * 1_000_000 == pytest.approx(
        total, rel=1e-12
    )
    assert total == pytest.approx(1.294e18, rel=5e-4)


def test_a_million_updates_of_matrix_products_are_derived_from_the_widths():
    L, P, V, E = 128, 19, 30_522, 128
    forward = 0
    for width in (64, 256):
        forward += 2 * L * E * width + 12 * (2 * L * 12 * width * width + 2 * 2 * L * L * width)
    forward += 2 * P * (64 * E + E * V) + 2 * L * (256 * 256 + 256)  # the two heads
    assert update_flops(EncoderConfig(), 0.25, L, P, 128, "rtd") == 3 * 128 * forward
    assert 3 * 128 * forward * 1_000_000 == pytest.approx(1.150e18, rel=1e-3)


@pytest.mark.parametrize(
    ("generator_size", "num_steps", "objective", "flops"),
    [
        *((0.125, 1e6, "rtd", 1.257e18), (0.25, 1e6, "rtd", 1.294e18), (0.5, 1e6, "rtd", 1.424e18)),
        *((0.75, 1e6, "rtd", 1.634e18), (1.0, 1e6, "rtd", 1.920e18), (0.25, 1.45e6, "mlm", 1.419e18)),
    ],
)
def test_the_sizes_of_the_sweep_cost_what_the_releases_script_says(generator_size, num_steps, objective, flops):
    found = release_update_flops(EncoderConfig(), generator_size, 128, 128, objective) * num_steps
    assert found == pytest.approx(flops, rel=5e-4)


def test_parameters_by_block_are_the_papers_and_add_up_to_the_models():
    blocks = parameter_blocks(EncoderConfig(), 0.25)
    assert blocks == {
        "word table": 30_522 * 128,
        "position table": 512 * 128,
        "token-type table": 2 * 128,
        "embedding LayerNorm": 2 * 128,
        "generator projection": 8_256,
        "generator layers": 12 * 49_984,
        "generator head": 39_098,
        "discriminator projection": 33_024,
        "discriminator layers": 12 * 789_760,
        "discriminator head": 66_049,
    }
    assert sum(blocks.values()) == 14_196_219
    assert sum(parameter_blocks(tiny_shape(), 0.5).values()) == count_parameters(tiny_electra(tiny_shape(), 0.5))


def test_petaflop_days_by_count_and_by_hardware():
    assert pfs_days(1.294e18) == pytest.approx(0.0150, abs=5e-5)
    assert hardware_pfs_days(3.75, 1, 35) == pytest.approx(0.0433, abs=5e-5)
    assert device_tflops("NVIDIA GeForce RTX 3090") == 35
    assert device_tflops("x86_64") is None
