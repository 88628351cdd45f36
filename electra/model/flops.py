"""The cost of a model: parameters by block, FLOPs by two conventions, petaflop/s-days."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from electra.config import EncoderConfig
from electra.model.networks import Electra, MaskedLM

BACKWARD = 2  # FLOPs of the backward pass divided by the forward pass's: gradients of inputs and of weights
PFS_DAY_FLOPS = 1e15 * 86_400  # operations in one petaflop/s-day
UTILIZATION = 0.33  # share of a device's nominal speed that the hardware rule assumes. Source: Mercier, table 3

DEVICE_TFLOPS: Mapping[str, float] = {
    **{"GTX 1080": 8.9, "P600": 12, "V100": 16, "TPU": 45, "RTX 3090": 35},  # source: Mercier, table 3
    **{"A100": 19.5, "H100": 67, "H200": 67},  # source: the makers' data sheets, float32 outside tensor cores
}
"""Nominal speed of one device in 10^12 FLOP/s, by a part of its name."""


def encoder_flops(shape: EncoderConfig, seq_length: int) -> int:
    """Return matrix-product FLOPs of one row's forward pass through projection and layers; look-ups count as 0."""
    E, D, L = shape.embedding_size, shape.hidden_size, seq_length
    projection = 2 * L * E * D if E != D else 0
    dense = 4 * D * D + 2 * D * shape.intermediate_size  # q, k, v, output; feed-forward in and out
    attention = 2 * L * D  # scores and mixing
    return projection + shape.num_layers * 2 * L * (dense + attention)


def update_flops(
    shape: EncoderConfig, generator_size: float, seq_length: int, num_targets: int, batch_size: int, objective: str
) -> int:
    """Return matrix-product FLOPs of one update, forward and backward; `objective` is "rtd" or its control "mlm"."""
    width, generator = shape.hidden_size, shape if objective == "mlm" else shape.generator(generator_size)
    row = encoder_flops(generator, seq_length)
    row += 2 * num_targets * shape.embedding_size * (generator.hidden_size + shape.vocab_size)  # the generator's head
    if objective == "rtd":
        row += encoder_flops(shape, seq_length) + 2 * seq_length * width * (width + 1)  # the discriminator and its head
    return (1 + BACKWARD) * batch_size * row


RELEASE_BACKWARD = 1
RELEASE_OUTPUT_FRACTION = 0.15625  # 20 targets of 128 tokens
DROPOUT_OPS, LAYER_NORM_OPS, GELU_OPS, SOFTMAX_OPS = 4, 5, 8, 5  # per element


def _release_network_flops(shape: EncoderConfig, seq_length: int, *, is_generator: bool) -> float:
    """Return the operations per token of a forward pass through one network and its head, as the release counts."""
    D, E, V, L = shape.hidden_size, shape.embedding_size, shape.vocab_size, seq_length
    inner, heads = shape.intermediate_size, shape.num_heads
    layer = 2 * (4 * D * D + 2 * D * L + 2 * D * inner)  # products
    layer += (SOFTMAX_OPS + DROPOUT_OPS + 1) * L * heads  # softmax, dropout and scale of the attention probabilities
    layer += (4 + 1) * D + inner + 2 * D  # biases and residuals
    layer += LAYER_NORM_OPS * (D + 1)  # after attention the release counts one element only
    layer += 2 * DROPOUT_OPS * D + GELU_OPS * inner
    lookups = 2 * E * V + 2 * E * (L + 2) + 2 * E
    embeddings = lookups + (LAYER_NORM_OPS + DROPOUT_OPS) * E + (2 * D * E + D) * (E != D)
    if is_generator:
        dense = 2 * D * E + E + (GELU_OPS + LAYER_NORM_OPS) * E
        head = RELEASE_OUTPUT_FRACTION * (dense + 2 * E * V + (SOFTMAX_OPS + 2) * V)
    else:
        head = 2 * D * D + D + GELU_OPS * D + 2 * D
    return shape.num_layers * layer + embeddings + head


def release_update_flops(
    shape: EncoderConfig, generator_size: float, seq_length: int, batch_size: int, objective: str
) -> float:
    """Return an update's FLOPs as the release counts: all operations; a backward pass costs as much as a forward pass.

    Reading a row of the word table counts as a product with the whole table.
    Source: the assumptions of release flops_computation.py; the tests derive the numbers a second time.
    """
    networks = [(shape, True)] if objective == "mlm" else [(shape.generator(generator_size), True), (shape, False)]
    token = sum(_release_network_flops(network, seq_length, is_generator=is_mlm) for network, is_mlm in networks)
    return (1 + RELEASE_BACKWARD) * batch_size * seq_length * token


def pfs_days(flops: float) -> float:
    """Return a number of operations in petaflop/s-days."""
    return flops / PFS_DAY_FLOPS


def hardware_pfs_days(days: float, num_devices: float, tflops: float) -> float:
    """Return petaflop/s-days by Mercier's rule: days x devices x `tflops` of one device / 1000 x `UTILIZATION`.

    Source: Mercier, table 3, after OpenAI's "AI and Compute".
    """
    return days * num_devices * tflops / 1000 * UTILIZATION


def device_tflops(device: str) -> float | None:
    """Return the nominal speed of a device by its name, in 10^12 FLOP/s; None for an unknown device."""
    return next((tflops for name, tflops in DEVICE_TFLOPS.items() if name.lower() in device.lower()), None)


_TABLES = {
    **{"word": "word table", "position": "position table", "token_type": "token-type table"},
    "norm": "embedding LayerNorm",
}


def parameter_blocks(shape: EncoderConfig, generator_size: float, objective: str = "rtd") -> dict[str, int]:
    """Return the number of parameters of each block, in the order of the data flow; a shared parameter counts once."""
    with torch.device("meta"):
        model = Electra(shape, generator_size) if objective == "rtd" else MaskedLM(shape)
    counts: dict[str, int] = {}
    parts = ("embeddings", "generator.encoder", "generator", "discriminator.encoder", "discriminator")
    order = {name: [part in name for part in parts].index(True) for name, _ in model.named_parameters()}
    for name, parameter in sorted(model.named_parameters(), key=lambda named: order[named[0]]):
        network, part, kind, *rest = f"{name}.".split(".")  # generator.bias has two parts
        title = f"{network} {kind}" if part == "encoder" else f"{network} head"
        block = _TABLES[rest[0]] if kind == "embeddings" else title
        counts[block] = counts.get(block, 0) + parameter.numel()
    return counts
