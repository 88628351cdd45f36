"""What a model costs: parameters by block, FLOPs by two conventions, petaflop/s-days by count and by hardware."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from electra.config import EncoderConfig
from electra.model.networks import Electra, MaskedLM

BACKWARD = 2
"""FLOPs of the backward pass over those of the forward pass: a gradient for the inputs and one for the weights."""

PFS_DAY_FLOPS = 1e15 * 86_400
"""Operations in one petaflop/s-day."""

UTILIZATION = 0.33
"""Share of a device's nominal speed that the hardware rule assumes. Source: Mercier, table 3."""

DEVICE_TFLOPS: Mapping[str, float] = {
    **{"GTX 1080": 8.9, "P600": 12, "V100": 16, "TPU": 45, "RTX 3090": 35},  # source: Mercier, table 3
    **{"A100": 19.5, "H100": 67, "H200": 67},  # source: the makers' data sheets, float32 outside tensor cores
}
"""Nominal 10^12 FLOP/s of one device, by a part of its name; the hardware rule's input."""


def encoder_flops(shape: EncoderConfig, seq_length: int) -> int:
    """Forward matrix-product FLOPs of one row through the projection and the layers; look-ups are free."""
    E, D, L = shape.embedding_size, shape.hidden_size, seq_length
    projection = 2 * L * E * D if E != D else 0
    dense = 4 * D * D + 2 * D * shape.intermediate_size  # q, k, v, output; feed-forward in and out
    attention = 2 * L * D  # scores and mixing
    return projection + shape.num_layers * 2 * L * (dense + attention)


def generator_flops(shape: EncoderConfig, seq_length: int, num_targets: int) -> int:
    """Forward FLOPs of one row through a generator of this shape, its head on the targets only."""
    head = 2 * num_targets * shape.embedding_size * (shape.hidden_size + shape.vocab_size)
    return encoder_flops(shape, seq_length) + head


def discriminator_flops(shape: EncoderConfig, seq_length: int) -> int:
    """Forward FLOPs of one row through the discriminator, its head on every token."""
    return encoder_flops(shape, seq_length) + 2 * seq_length * shape.hidden_size * (shape.hidden_size + 1)


def update_flops(
    shape: EncoderConfig, generator_size: float, seq_length: int, num_targets: int, batch_size: int, objective: str
) -> int:
    """Forward and backward matrix-product FLOPs of one update of "rtd" or of its control "mlm"."""
    if objective == "mlm":
        row = generator_flops(shape, seq_length, num_targets)
    else:
        generator = generator_flops(shape.generator(generator_size), seq_length, num_targets)
        row = generator + discriminator_flops(shape, seq_length)
    return (1 + BACKWARD) * batch_size * row


RELEASE_BACKWARD = 1
RELEASE_OUTPUT_FRACTION = 0.15625  # 20 targets of 128 tokens
DROPOUT_OPS, LAYER_NORM_OPS, GELU_OPS, SOFTMAX_OPS = 4, 5, 8, 5  # for each element


def _release_layer_flops(shape: EncoderConfig, seq_length: int) -> int:
    """Forward operations of one token in one layer, element-wise ones included."""
    D, inner, L = shape.hidden_size, shape.intermediate_size, seq_length
    products = 2 * (4 * D * D + 2 * D * L + 2 * D * inner)
    weights = (SOFTMAX_OPS + DROPOUT_OPS + 1) * L * shape.num_heads  # softmax, dropout and scale
    biases_and_residuals = (4 + 1) * D + inner + 2 * D
    norms = LAYER_NORM_OPS * (D + 1)  # the release counts the one after attention for a single element
    return products + weights + biases_and_residuals + 2 * DROPOUT_OPS * D + GELU_OPS * inner + norms


def _release_network_flops(shape: EncoderConfig, seq_length: int, *, is_generator: bool, dense_lookups: bool) -> float:
    """Forward operations of one token in one network with its head."""
    D, E, V = shape.hidden_size, shape.embedding_size, shape.vocab_size
    lookups = 2 * E * V * dense_lookups + 2 * E * (seq_length + 2) + 2 * E
    embeddings = lookups + (LAYER_NORM_OPS + DROPOUT_OPS) * E + (2 * D * E + D) * (E != D)
    if is_generator:
        dense = 2 * D * E + E + (GELU_OPS + LAYER_NORM_OPS) * E
        head = RELEASE_OUTPUT_FRACTION * (dense + 2 * E * V + (SOFTMAX_OPS + 2) * V)
    else:
        head = 2 * D * D + D + GELU_OPS * D + 2 * D
    return shape.num_layers * _release_layer_flops(shape, seq_length) + embeddings + head


def release_update_flops(
    shape: EncoderConfig,
    generator_size: float,
    seq_length: int,
    batch_size: int,
    objective: str,
    *,
    dense_lookups: bool = True,
) -> float:
    """FLOPs of one update as the release counts them: every operation, and a backward pass as dear as the forward.

    Args:
        dense_lookups: count reading a row of the word table as a product with the whole table, as the release does.

    Source: release flops_computation.py, its assumptions; the arithmetic is derived anew in the tests.
    """
    networks = [(shape, True)] if objective == "mlm" else [(shape.generator(generator_size), True), (shape, False)]
    token = sum(
        _release_network_flops(width, seq_length, is_generator=is_generator, dense_lookups=dense_lookups)
        for width, is_generator in networks
    )
    return (1 + RELEASE_BACKWARD) * batch_size * seq_length * token


def pfs_days(flops: float) -> float:
    """Petaflop/s-days of a count of operations."""
    return flops / PFS_DAY_FLOPS


def hardware_pfs_days(days: float, num_devices: float, tflops: float) -> float:
    """Petaflop/s-days by Mercier's rule: time, times devices, times their nominal speed, times a third.

    Args:
        tflops: nominal 10^12 FLOP/s of one device.

    Source: Mercier, table 3, after OpenAI's "AI and Compute".
    """
    return days * num_devices * tflops / 1000 * UTILIZATION


def device_tflops(device: str) -> float | None:
    """The nominal speed of a device by its name, or None where this package knows none."""
    return next((tflops for name, tflops in DEVICE_TFLOPS.items() if name.lower() in device.lower()), None)


_BLOCKS: Mapping[str, str] = {
    "embeddings.word": "word table",
    "embeddings.position": "position table",
    "embeddings.token_type": "token-type table",
    "embeddings.norm": "embedding LayerNorm",
    **{
        f"{network}.{part}": f"{network} {title}"
        for network in ("generator", "discriminator")
        for part, title in (("encoder.projection", "projection"), ("encoder.layers", "layers"), ("", "head"))
    },
}
"""Part of a parameter's name -> its block, in the order data flows; the first that fits counts."""


def parameter_blocks(shape: EncoderConfig, generator_size: float, objective: str = "rtd") -> dict[str, int]:
    """Parameters of the pre-training model by block, in the order data flows; what is shared counts once.

    The blocks are those of the model itself, built without memory, so that this count cannot drift from it.
    """
    with torch.device("meta"):
        model = Electra(shape, generator_size) if objective == "rtd" else MaskedLM(shape)
    counts = dict.fromkeys(_BLOCKS.values(), 0)
    for name, parameter in model.named_parameters():
        counts[next(title for part, title in _BLOCKS.items() if part in name)] += parameter.numel()
    return {block: count for block, count in counts.items() if count}
