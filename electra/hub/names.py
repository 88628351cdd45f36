"""Translate settings, labels and tensor names between this package and Hugging Face ELECTRA folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from electra.cli import from_dict
from electra.config import EncoderConfig
from electra.files import FormatError, read_json
from electra.model.networks import Discriminator, Generator, SequenceClassifier, make_embeddings
from electra.model.transformer import LAYER_NORM_EPS, Encoder
from electra.training.checkpoint import in_brief, mismatches

REQUIRED = {"model_type": "electra", "hidden_act": "gelu", "layer_norm_eps": LAYER_NORM_EPS}
"""Values that config.json must have. In transformers, "gelu" is the exact form with erf."""

CONFIG_NAMES = {field.name: field.name for field in dataclasses.fields(EncoderConfig)} | {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "attention_dropout_prob": "attention_probs_dropout_prob",
}
"""{our name of an encoder setting: its name in config.json}."""

ENCODER_NAMES = {
    "embeddings.word.": "embeddings.word_embeddings.",
    "embeddings.position.": "embeddings.position_embeddings.",
    "embeddings.token_type.": "embeddings.token_type_embeddings.",
    "embeddings.norm.": "embeddings.LayerNorm.",
    "projection.": "embeddings_project.",
    "layers.": "encoder.layer.",
    "attention.out.": "attention.output.dense.",
    "attention_norm.": "attention.output.LayerNorm.",
    "feed_forward.inner.": "intermediate.dense.",
    "feed_forward.outer.": "output.dense.",
    "feed_forward_norm.": "output.LayerNorm.",
}
"""{part of a tensor's name in our encoder: the same part in transformers}. Every part in a name is replaced."""

POSITION_BUFFER = "embeddings.position_ids"  # old files store 0, 1, 2, ... under this name


class Part(NamedTuple):
    """One kind of model that a folder can hold."""

    architecture: str  # class in transformers
    our_prefix: str  # first part of the names of its tensors in model.pt
    encoder_prefix: str  # first part of the names of its encoder's tensors in transformers
    head: Mapping[str, str]  # {our module outside the encoder: the module in transformers}
    tied: Mapping[str, str] = {}  # {second name of a tensor in transformers: its first name}


PARTS = {
    "discriminator": Part(
        "ElectraForPreTraining",
        "discriminator.",
        "electra.",
        {"dense": "discriminator_predictions.dense", "output": "discriminator_predictions.dense_prediction"},
    ),
    "generator": Part(
        "ElectraForMaskedLM",
        "generator.",
        "electra.",
        {
            "dense": "generator_predictions.dense",
            "norm": "generator_predictions.LayerNorm",
            "bias": "generator_lm_head.bias",
        },
        {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    ),
    "classifier": Part(
        "ElectraForSequenceClassification",
        "",
        "electra.",
        {"dense": "classifier.dense", "output": "classifier.out_proj"},
    ),
    "encoder": Part("ElectraModel", "discriminator.", "", {}),
}


def their_names(part: str, name: str) -> list[str]:
    """Return the transformers names of one of our tensors: three for the joint query-key-value tensor, else one."""
    if not name.startswith("encoder."):
        module, dot, kind = name.partition(".")
        return [PARTS[part].head[module] + dot + kind]
    name = name.removeprefix("encoder.")
    for ours, theirs in ENCODER_NAMES.items():
        name = name.replace(ours, theirs)
    pieces = ("query", "key", "value") if ".qkv." in name else ("",)
    return [PARTS[part].encoder_prefix + name.replace(".qkv.", f".self.{piece}.") for piece in pieces]


def to_theirs(part: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return {name in transformers: float32 copy of our tensor}; a tied tensor is under both of its names."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        names = their_names(part, name)
        theirs.update(zip(names, (piece.float().clone() for piece in tensor.chunk(len(names))), strict=True))
    return theirs | {second: theirs[first] for second, first in PARTS[part].tied.items()}


def from_theirs(
    part: str, theirs: Mapping[str, Tensor], config: EncoderConfig, num_outputs: int, file: Path
) -> dict[str, Tensor]:
    """Return {our name: float32 tensor} of a folder's tensors; `num_outputs` matters only for a classifier.

    Raises FormatError if tensors are missing, unexpected, of another shape or not tied; it tells the first five.
    """
    theirs = {name: tensor for name, tensor in theirs.items() if not name.endswith(POSITION_BUFFER)}
    if config.num_layers > len(theirs):  # checked before the layers are built
        raise FormatError(f"{file}: expected {config.num_layers:,} layers, found {len(theirs)} tensors; restore it")
    ours, tied = empty_module(part, config, num_outputs).state_dict(), PARTS[part].tied
    expected = {name: t.shape for name, t in to_theirs(part, ours).items() if name not in tied or name in theirs}
    wrong = mismatches(expected, theirs) or [
        f"{second} unlike {first}, which it should be"
        for second, first in tied.items()
        if second in theirs and not torch.equal(theirs[second], theirs[first])
    ]
    if wrong:
        tensors = f"the tensors of {PARTS[part].architecture} in the sizes of config.json"
        raise FormatError(f"{file}: expected {tensors}, found {in_brief(wrong)}; restore the folder")
    return {name: torch.cat([theirs[piece].float() for piece in their_names(part, name)]) for name in ours}


def their_config(part: str, config: EncoderConfig, pad_token_id: int) -> dict[str, Any]:
    """Return the contents of config.json for a part, without the labels of a classifier."""
    sizes = {theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()}
    return {"architectures": [PARTS[part].architecture], **REQUIRED, **sizes, "pad_token_id": pad_token_id}


def label_config(labels: list[str]) -> dict[str, Any]:
    """Return the fields of config.json for a classifier's outputs. An empty list means one output, a score."""
    names = labels or ["score"]
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": "single_label_classification" if labels else "regression",
    }


def read_labels(config: Mapping[str, Any], file: Path) -> list[str]:
    """Return the names of a classifier's outputs in order: LABEL_0 and LABEL_1 if config.json has no names.

    Raises FormatError if names are not unique or not numbered from 0, or if a text can have several labels.
    """
    names: dict[str, str] = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    labels = [names.get(str(number), "") for number in range(len(names))]
    if "" in labels or len({*labels}) < len(labels):
        found = ", ".join(f"{key} {name}" for key, name in names.items())
        expected = f"expected a different name in id2label for each output 0 to {len(names) - 1}"
        raise FormatError(f"{file}: {expected}, found {found:.200}; correct it")
    expected = "regression" if len(labels) == 1 else "single_label_classification"
    if (kind := config.get("problem_type")) not in (None, expected):
        raise FormatError(f"{file}: expected problem_type {expected}, found {kind}; choose another model")
    return labels


def read_config(file: Path) -> tuple[str, EncoderConfig, dict[str, Any]]:
    """Return the part, the encoder shape and all fields of config.json; FormatError for an unsupported model."""
    config = read_json(file, architectures=list[str] | None, id2label=dict[str, str] | None, problem_type=str | None,
        finetuning_task=str | None, score_range=list[float] | None, max_seq_length=int | None)  # fmt: skip
    parts = {part.architecture: name for name, part in PARTS.items()}
    architecture = (config.get("architectures") or ["none"])[0]
    if architecture not in parts:
        raise FormatError(f"{file}: expected one of {', '.join(parts)}, found {architecture}; choose another model")
    wrong = [f"{name} {config.get(name)}" for name, value in REQUIRED.items() if config.get(name) != value]
    wrong += [f"no {name}" for name in CONFIG_NAMES.values() if name not in config]
    if wrong:
        required = ", ".join(f"{name} {value}" for name, value in REQUIRED.items())
        problem = f"expected {required} and all encoder settings, found {'; '.join(wrong)}"
        raise FormatError(f"{file}: {problem}; choose an ELECTRA model")
    shape = from_dict(EncoderConfig, {ours: config[theirs] for ours, theirs in CONFIG_NAMES.items()}, file)
    return parts[architecture], shape, config


def empty_module(part: str, config: EncoderConfig, num_outputs: int) -> nn.Module:
    """Return our module of a part on the meta device: tensors have names and shapes, but use no memory."""
    with torch.device("meta"):
        if part == "classifier":
            return SequenceClassifier(config, num_outputs, pooling="first", head="mlp")
        if part == "encoder":
            return nn.ModuleDict({"encoder": Encoder(config, make_embeddings(config))})
        return {"discriminator": Discriminator, "generator": Generator}[part](config, make_embeddings(config))
