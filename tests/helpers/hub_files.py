"""Checkpoints to export and import, and changes to exported folders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from electra.config import FinetuneConfig, PretrainConfig
from electra.files import json_bytes, read_json
from electra.model.networks import Electra, SequenceClassifier
from electra.tokenizer.byte_level import Tokenizer
from electra.training.checkpoint import save_checkpoint, torch_bytes
from tests.conftest import tiny_shape, word_salad

TEXTS = [*word_salad(20, 20), "It's 3 o'clock.\n\n  Déjà vu — 日本!", "[MASK] isn't special here"]
TOKENIZER = Tokenizer.train(TEXTS, 331)
SHAPE = tiny_shape(vocab_size=331, hidden_dropout_prob=0.1)
LABELS = ["entailment", "neutral", "contradiction"]


def randomize(model: nn.Module) -> nn.Module:
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, float(parameter.ndim == 1), 0.2, draws)
    return model.eval()


def write_checkpoint(folder: Path, model: nn.Module, tokenizer: bytes, **settings: Any) -> Path:
    """A checkpoint as the training scripts write it."""
    contents = {
        "config.json": json_bytes({"encoder": dataclasses.asdict(SHAPE), **settings}),
        "tokenizer.json": tokenizer,
        "model.pt": torch_bytes(model.state_dict()),
    }
    save_checkpoint(folder, contents, {"step": 7})
    return folder


@pytest.fixture
def tokenizer_json(tmp_path: Path) -> bytes:
    TOKENIZER.save(tmp_path / "saved.json")
    return (tmp_path / "saved.json").read_bytes()


@pytest.fixture
def pair(tmp_path: Path, tokenizer_json: bytes) -> Path:
    pretrain = dataclasses.asdict(PretrainConfig(generator_size=0.5))
    return write_checkpoint(
        tmp_path / "step-0000007", randomize(Electra(SHAPE, 0.5)), tokenizer_json, pretrain=pretrain
    )


def classifier_checkpoint(
    folder: Path,
    tokenizer_json: bytes,
    labels: list[str],
    pooling: str = "first",
    head: str = "mlp",
    types: bool = True,
) -> Path:
    model = randomize(SequenceClassifier(SHAPE, len(labels) or 1, pooling=pooling, head=head))
    config = FinetuneConfig(pooling=pooling, head=head, token_types=types, max_seq_length=29)
    finetune = dataclasses.asdict(config)
    facts = {"task": "mnli", "labels": labels, "score_range": [0.0, 5.0]}
    return write_checkpoint(folder, model, tokenizer_json, finetune=finetune, **facts)


@pytest.fixture
def classifier(tmp_path: Path, tokenizer_json: bytes) -> Path:
    return classifier_checkpoint(tmp_path / "classifier", tokenizer_json, LABELS)


def tensors(file: Path) -> dict[str, Tensor]:
    return torch.load(file, weights_only=True)


def assert_same_bytes(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert list(first) == list(second)
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype == torch.float32
        assert tensor.shape == second[name].shape
        assert tensor.numpy().tobytes() == second[name].numpy().tobytes(), name


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of an exported folder."""
    weights = tensors(folder / "pytorch_model.bin")
    change(weights)
    torch.save(weights, folder / "pytorch_model.bin")


def rewrite_config(folder: Path, **changes: Any) -> None:
    config = {**read_json(folder / "config.json"), **changes}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
