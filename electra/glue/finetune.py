"""What fine-tuning adds to the encoder: where it starts from, a head, layer-wise rates, a loss, predictions."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from electra.config import EncoderConfig, FinetuneConfig
from electra.files import FormatError
from electra.glue.batches import Features, collate, evaluation_batches
from electra.glue.tasks import Task
from electra.model.networks import SequenceClassifier, initialize_weights, wide
from electra.seeding import random_stream
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer, tokenizer_file
from electra.training.checkpoint import (
    json_bytes,
    load_encoder_config,
    load_encoder_weights,
    read_settings,
    resolve_checkpoint,
    save_checkpoint,
    torch_bytes,
    verify,
)
from electra.training.devices import autocast, resolve_precision
from electra.training.optimizer import layerwise_rates

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


def open_start(path: Path, *, task: str = "") -> Start:
    """Open a checkpoint, or the newest of a run folder.

    Args:
        task: what it must have been fine-tuned on; empty if that does not matter.

    Raises:
        FileNotFoundError: there is nothing.
        FormatError: it is damaged or no checkpoint, was fine-tuned on something else, or its tokenizer is not the
            one it was trained with.
    """
    folder = resolve_checkpoint(path)
    manifest, config = verify(folder), read_settings(folder)
    if task and config.get("task") != task:
        raise FormatError(f"{folder}: expected a model fine-tuned on {task}, found {config.get('task', 'none')}; "
                          f"make one with train_glue.py --task {task} --save-models")  # fmt: skip
    shape, tokenizer = load_encoder_config(folder), load_tokenizer(folder)
    found = tokenizer.fingerprint
    if tokenizer.vocab_size != shape.vocab_size or config.get("tokenizer", found) != found:
        raise FormatError(f"{folder}: expected the tokenizer of {shape.vocab_size:,} tokens it was trained with, found "
                          f"another, of {tokenizer.vocab_size:,}, or another version of the regex package; "
                          "put the right one back")  # fmt: skip
    return Start(folder, shape, tokenizer, manifest["step"], manifest["sha256"]["model.pt"])


def build_classifier(
    start: Start, num_outputs: int, config: FinetuneConfig, seed: int, *, from_scratch: bool = False
) -> SequenceClassifier:
    """The model at update 0: the start's encoder, or one at random, under a new head.

    Args:
        num_outputs: classes, or 1 for a score.
        seed: of the head, and of the encoder if `from_scratch`.
    """
    shape = dataclasses.replace(start.shape, hidden_dropout_prob=config.dropout, attention_dropout_prob=config.dropout)
    if config.max_seq_length > shape.max_position_embeddings:
        raise ValueError(f"--max-seq-length: expected at most {shape.max_position_embeddings}, the checkpoint's "
                         f"positions, found {config.max_seq_length}; lower it")  # fmt: skip
    model = SequenceClassifier(shape, num_outputs, config.pooling, config.head)
    head = nn.ModuleDict({name: part for name, part in model.named_children() if name != "encoder"})
    initialize_weights(head, random_stream(seed, "finetune-head"), shape.initializer_range)
    if from_scratch:
        initialize_weights(model.encoder, random_stream(seed, "init"), shape.initializer_range)
    else:
        load_encoder_weights(start.folder, model.encoder)
    return model


def learning_rates(model: SequenceClassifier, config: FinetuneConfig) -> dict[str, float]:
    """Rate multiplier of each parameter."""
    names = [name for name, _ in model.named_parameters()]
    return _rates(names, len(model.encoder.layers), config)


def _rates(names: list[str], num_layers: int, config: FinetuneConfig) -> dict[str, float]:
    return layerwise_rates(names, num_layers, config.layerwise_lr_decay, config.layerwise_lr_top_exponent)


def rate_table(num_layers: int, config: FinetuneConfig) -> str:
    """The peak learning rate of the head, of each layer from the top, and of the embeddings, a line each."""
    layers = {f"encoder.layers.{number - 1}.": f"layer {number}" for number in range(num_layers, 0, -1)}
    names = {"output.": "head", **layers, "encoder.embeddings.": "embeddings, projection"}
    rates = _rates([*names], num_layers, config)
    lines = [f"  {title:<24}{rates[name]:.4f} x {config.learning_rate:g} = {rates[name] * config.learning_rate:.3g}"
             for name, title in names.items()]  # fmt: skip
    return "\n".join(["peak learning rates:", *lines])


def loss_sum(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over rows of the cross-entropy of (B, C) logits and (B,) classes, or of the squared error of (B, 1) scores.

    Source: release classification_tasks.py:245-290.
    """
    if targets.is_floating_point():
        return F.mse_loss(wide(outputs).squeeze(1), targets.to(wide(outputs).dtype), reduction="sum")
    return F.cross_entropy(wide(outputs), targets, reduction="sum")


class Trained(NamedTuple):
    """What a training run leaves besides the model."""

    num_updates: int
    num_skipped: int  # updates left out because a gradient was not finite
    train_loss: float  # mean over the rows of the last epoch


@torch.no_grad()
def predict_rows(model: SequenceClassifier, features: Features, config: FinetuneConfig, device: torch.device) -> Array:
    """(N, num_outputs) outputs of every row, float32, in the order of `features`; dropout is off from here on."""
    model.eval()
    dtype = resolve_precision(config.precision, device)
    outputs = np.full((len(features), model.output.out_features), np.nan, np.float32)
    for rows in evaluation_batches(features.lengths, PREDICT_ROWS, length_buckets=config.length_buckets):
        batch = collate(features, rows, token_types=config.token_types)
        with autocast(device, dtype):
            outputs[rows] = model(**{name: t.to(device) for name, t in batch.items()}).float().cpu().numpy()
    return outputs


def save_classifier(
    folder: Path, model: SequenceClassifier, start: Start, config: FinetuneConfig, task: Task, step: int
) -> None:
    """Keep a fine-tuned model as a checkpoint that `predict`, `export` and a later fine-tuning take.

    Its folder says all that using it needs: task, columns, label names, score range, head, protocol, tokenizer.

    Args:
        folder: of this run (protocol, task, seed and data); a model that an interrupted one left there is replaced.
        step: updates made.
    """
    shutil.rmtree(folder, ignore_errors=True)
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
        "model.pt": torch_bytes(model.state_dict()),
    }
    save_checkpoint(folder, contents, {"step": step, "started_from": start.sha256})
