"""The parts of fine-tuning: start, classifier, learning rates by layer, loss, predictions, saved model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.config import EncoderConfig, FinetuneConfig
from electra.files import FormatError, json_bytes
from electra.glue.batches import Features, collate, evaluation_batches
from electra.glue.tasks import Task
from electra.model.networks import SequenceClassifier, initialize_weights, wide
from electra.scores.metrics import Array
from electra.seeding import random_stream
from electra.tokenizer.wordpiece import AnyTokenizer, load_tokenizer, tokenizer_file
from electra.training import checkpoint
from electra.training.devices import autocast, resolve_precision
from electra.training.optimizer import layerwise_rates

PREDICT_ROWS = 128
"""Number of rows of one forward pass for predictions."""


class Start(NamedTuple):
    """The verified checkpoint that fine-tuning starts from, and its tokenizer."""

    folder: Path
    shape: EncoderConfig
    tokenizer: AnyTokenizer
    step: int
    sha256: str  # of the weights


def open_start(path: Path, *, task: str = "") -> Start:
    """Open a checkpoint or a run's newest one; FormatError if it is damaged or not fine-tuned on `task` ("": any)."""
    folder = checkpoint.resolve_checkpoint(path)
    manifest, config = checkpoint.verify(folder), checkpoint.read_settings(folder)
    if task and config.get("task") != task:
        found = config.get("task", "none")
        remedy = f"make one with train_glue.py --task {task} --save-models"
        raise FormatError(f"{folder}: expected a model fine-tuned on {task}, found {found}; {remedy}")
    shape, tokenizer = checkpoint.load_encoder_config(folder), load_tokenizer(folder)
    fingerprint = tokenizer.fingerprint
    if tokenizer.vocab_size != shape.vocab_size or config.get("tokenizer", fingerprint) != fingerprint:
        found = f"another ({tokenizer.vocab_size:,} words) or another regex package; restore the old one"
        raise FormatError(
            f"{folder}: expected the tokenizer of the training ({shape.vocab_size:,} words), found {found}"
        )
    return Start(folder, shape, tokenizer, manifest["step"], manifest["sha256"]["model.pt"])


def build_classifier(
    start: Start, num_outputs: int, config: FinetuneConfig, seed: int, *, from_scratch: bool = False
) -> SequenceClassifier:
    """Return the untrained classifier: the encoder of `start`, or a random one if `from_scratch`, and a random head.

    `num_outputs` is the number of classes, or 1 for a score.
    """
    shape = dataclasses.replace(start.shape, hidden_dropout_prob=config.dropout, attention_dropout_prob=config.dropout)
    if config.max_seq_length > shape.max_position_embeddings:
        expected = f"expected at most {shape.max_position_embeddings}, the checkpoint's positions"
        raise ValueError(f"--max-seq-length: {expected}, found {config.max_seq_length}; lower it")
    model = SequenceClassifier(shape, num_outputs, config.pooling, config.head)
    head = nn.ModuleDict({name: part for name, part in model.named_children() if name != "encoder"})
    initialize_weights(head, random_stream(seed, "finetune-head"), shape.initializer_range)
    if from_scratch:
        initialize_weights(model.encoder, random_stream(seed, "init"), shape.initializer_range)
    else:
        checkpoint.load_encoder_weights(start.folder, model.encoder)
    return model


def learning_rates(model: SequenceClassifier, config: FinetuneConfig) -> dict[str, float]:
    """Return the multiplier of the learning rate of each parameter, by the parameter's name."""
    names, num_layers = [name for name, _ in model.named_parameters()], len(model.encoder.layers)
    return layerwise_rates(names, num_layers, config.layerwise_lr_decay, config.layerwise_lr_top_exponent)


def rate_table(num_layers: int, config: FinetuneConfig) -> str:
    """Return the peak learning rates of the head, of each layer from the top, and of the embeddings, one per line."""
    layers = {f"encoder.layers.{number - 1}.": f"layer {number}" for number in range(num_layers, 0, -1)}
    titles = {"output.": "head", **layers, "encoder.embeddings.": "embeddings, projection"}
    rates = layerwise_rates([*titles], num_layers, config.layerwise_lr_decay, config.layerwise_lr_top_exponent)
    lines, peak = ["peak learning rates:"], config.learning_rate
    for name, title in titles.items():
        lines.append(f"  {title:<24}{rates[name]:.4f} x {peak:g} = {rates[name] * peak:.3g}")
    return "\n".join(lines)


class Labels(NamedTuple):
    """What the rows of a micro-batch are trained on."""

    targets: Tensor  # (B,) int64 classes or float32 scores
    divisor: Tensor  # scalar, of the loss: the number of rows in the update, or 1 for `--loss-reduction sum`


def loss_sum(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the sum over rows of the cross-entropy of (B, C) logits, or of the squared error of (B, 1) scores.

    Source: release classification_tasks.py:245-290.
    """
    if targets.is_floating_point():
        return F.mse_loss(wide(outputs).squeeze(1), targets.to(wide(outputs).dtype), reduction="sum")
    return F.cross_entropy(wide(outputs), targets, reduction="sum")


def check_finite(what: str, values: Array | float) -> None:
    """Raise FloatingPointError unless all values are finite."""
    if not np.isfinite(values).all():
        raise FloatingPointError(f"{what}: expected finite numbers, found nan or inf; lower --learning-rate")


@torch.no_grad()
def predict_rows(model: SequenceClassifier, features: Features, config: FinetuneConfig, device: torch.device) -> Array:
    """Return the (N, num_outputs) float32 outputs in the order of `features`; the model is left in evaluation mode."""
    model.eval()
    dtype = resolve_precision(config.precision, device)
    outputs = np.full((len(features), model.output.out_features), np.nan, np.float32)
    for rows in evaluation_batches(features.lengths, PREDICT_ROWS):
        batch = collate(features, rows, device, token_types=config.token_types)
        with autocast(device, dtype):
            outputs[rows] = model(*batch).float().cpu().numpy()
    check_finite("outputs", outputs)
    return outputs


def save_classifier(
    folder: Path, model: SequenceClassifier, start: Start, config: FinetuneConfig, task: Task, step: int
) -> None:
    """Save a model, fine-tuned for `step` updates, as a checkpoint; an existing folder is replaced."""
    settings = {
        "encoder": dataclasses.asdict(start.shape),
        "finetune": dataclasses.asdict(config),
        "task": task.name,
        "text_columns": list(task.text_columns),
        "labels": list(task.labels),
        "score_range": list(task.score_range),
        "tokenizer": start.tokenizer.fingerprint,
    }
    tokenizer = tokenizer_file(start.folder)
    contents = {
        "config.json": json_bytes(settings),
        tokenizer.name: tokenizer.read_bytes(),
        "model.pt": checkpoint.torch_bytes(model.state_dict()),
    }
    checkpoint.save_checkpoint(folder, contents, {"step": step, "started_from": start.sha256})
