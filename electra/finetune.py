"""What fine-tuning adds to the encoder: where it starts from, a head, layer-wise rates, a loss, predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.checkpoint import load_encoder_config, load_encoder_weights, resolve_checkpoint, verify
from electra.config import EncoderConfig, FinetuneConfig
from electra.files import FormatError, read_json
from electra.glue_batches import Features, evaluation_batches, make_batch
from electra.models import SequenceClassifier, initialize_weights
from electra.objective import wide
from electra.optim import layerwise_rates
from electra.runtime import autocast
from electra.seeding import generator
from electra.tokenizer import Tokenizer
from electra.wordpiece import WordPieceTokenizer, load_tokenizer

Array = npt.NDArray[Any]

PREDICT_ROWS = 128
"""Rows a forward pass takes when nothing is learned."""


class Start(NamedTuple):
    """Where fine-tuning starts: a verified checkpoint's encoder and the tokenizer that belongs to it."""

    folder: Path
    shape: EncoderConfig
    tokenizer: Tokenizer | WordPieceTokenizer
    step: int
    sha256: str  # of the weights


def open_start(path: Path) -> Start:
    """Open a checkpoint, or the newest of a run folder.

    Raises:
        FileNotFoundError: there is nothing.
        FormatError: it is damaged or no checkpoint, or its tokenizer is not the one it was trained with.
    """
    folder = resolve_checkpoint(path)
    manifest, config = verify(folder), read_json(folder / "config.json")
    shape, tokenizer = load_encoder_config(folder), load_tokenizer(folder)
    found = tokenizer.fingerprint
    if tokenizer.vocab_size != shape.vocab_size or config.get("tokenizer", found) != found:
        raise FormatError(
            f"{folder}: expected a tokenizer of {shape.vocab_size:,} tokens, fingerprint "
            f"{config.get('tokenizer', 'any')[:12]}, found {tokenizer.vocab_size:,}, {found[:12]}; put back the "
            "tokenizer, and the version of regex, that the checkpoint was trained with"
        )
    return Start(folder, shape, tokenizer, manifest["step"], manifest["sha256"]["model.pt"])


def build_classifier(
    start: Start, num_outputs: int, config: FinetuneConfig, seed: int, *, from_scratch: bool = False
) -> SequenceClassifier:
    """The model at update 0: the start's encoder, or one at random, under a new head.

    Args:
        num_outputs: classes, or 1 for a score.
        seed: of the head, and of the encoder if `from_scratch`.
    """
    shape = dataclasses.replace(
        start.shape, hidden_dropout_prob=config.dropout, attention_dropout_prob=config.dropout
    )
    if config.max_seq_length > shape.max_position_embeddings:
        raise ValueError(f"--max-seq-length: expected at most {shape.max_position_embeddings}, the checkpoint's "
                         f"positions, found {config.max_seq_length}; lower it")  # fmt: skip
    model = SequenceClassifier(shape, num_outputs, config.pooling, config.head)
    head = nn.ModuleDict({name: part for name, part in model.named_children() if name != "encoder"})
    initialize_weights(head, generator(seed, "finetune-head"), shape.initializer_range)
    if from_scratch:
        initialize_weights(model.encoder, generator(seed, "init"), shape.initializer_range)
    else:
        load_encoder_weights(start.folder, model.encoder)
    return model


def learning_rates(model: SequenceClassifier, config: FinetuneConfig) -> dict[str, float]:
    """Rate multiplier of each parameter."""
    names = [name for name, _ in model.named_parameters()]
    return layerwise_rates(
        names, len(model.encoder.layers), config.layerwise_lr_decay, config.layerwise_lr_top_exponent
    )


def rate_table(model: SequenceClassifier, config: FinetuneConfig) -> str:
    """The peak rate of the head, each layer from the top, and the embeddings, a line each."""
    factors = {}
    for name, factor in learning_rates(model, config).items():
        parts = name.split(".")
        group = "head" if parts[0] != "encoder" else "embeddings and projection"
        factors[f"layer {int(parts[2]) + 1}" if parts[1] == "layers" else group] = factor
    lines = [f"  {group:<26}{factor:.4f}  {factor * config.learning_rate:.3g}" for group, factor in factors.items()]
    return "\n".join(["peak learning rate, over the head's and in full:", *reversed(lines)])


def loss_sum(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy of (B, C) logits and (B,) classes, or of the squared error of (B, 1) scores.

    Source: release classification_tasks.py:245-290.
    """
    if targets.is_floating_point():
        return F.mse_loss(wide(outputs).squeeze(1), targets.to(wide(outputs).dtype), reduction="sum")
    return F.cross_entropy(wide(outputs), targets, reduction="sum")


@torch.no_grad()
def predict_rows(
    model: SequenceClassifier, features: Features, config: FinetuneConfig, device: torch.device, dtype: torch.dtype
) -> Array:
    """(N, num_outputs) float32 outputs of every row, in the order of `features`; dropout is off from here on."""
    model.eval()
    outputs = np.full((len(features), model.output.out_features), np.nan, np.float32)
    for rows in evaluation_batches(features.lengths, PREDICT_ROWS, length_buckets=config.length_buckets):
        batch = make_batch(features, rows, token_types=config.token_types)
        with autocast(device, dtype):
            outputs[rows] = model(**{name: t.to(device) for name, t in batch.items()}).float().cpu().numpy()
    return outputs
