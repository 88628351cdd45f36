"""What an update costs: matrix-product FLOPs from the shapes, a multiply-add counted as two."""

from __future__ import annotations

from electra.config import EncoderConfig

BACKWARD = 2
"""FLOPs of the backward pass over those of the forward pass: a gradient for the inputs and one for the weights."""


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
