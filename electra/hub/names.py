"""What an ELECTRA folder of the Hugging Face hub looks like: its config.json, and the names of its tensors."""

from __future__ import annotations

import dataclasses
import re
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

Weights = Mapping[str, Tensor]

FIXED = {"model_type": "electra", "hidden_act": "gelu", "layer_norm_eps": LAYER_NORM_EPS}
"""What an encoder is here, and a folder's must be; "gelu" is the exact form there."""

CONFIG_NAMES = {field.name: field.name for field in dataclasses.fields(EncoderConfig)} | {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "attention_dropout_prob": "attention_probs_dropout_prob",
}
"""Our name of each setting of an encoder -> theirs."""

ENCODER_NAMES = (
    (r"embeddings\.(word|position|token_type)\.", r"embeddings.\1_embeddings."),
    (r"embeddings\.norm\.", "embeddings.LayerNorm."),
    (r"projection\.", "embeddings_project."),
    (r"layers\.(\d+)\.", r"encoder.layer.\1."),
    (r"\.attention\.out\.", ".attention.output.dense."),
    (r"\.attention_norm\.", ".attention.output.LayerNorm."),
    (r"\.feed_forward\.inner\.", ".intermediate.dense."),
    (r"\.feed_forward\.outer\.", ".output.dense."),
    (r"\.feed_forward_norm\.", ".output.LayerNorm."),
)
"""Our names inside an encoder -> theirs, rule after rule."""

POSITION_BUFFER = "embeddings.position_ids"  # 0, 1, 2, ... in old files: nothing trained


class Part(NamedTuple):
    """One kind of folder."""

    architecture: str  # their class
    encoder_prefix: str  # of its encoder's names
    head: Mapping[str, str]  # our modules outside the encoder -> theirs
    tied: Mapping[str, str] = {}  # a tensor's second name there -> its first


PARTS = {
    "discriminator": Part(
        "ElectraForPreTraining",
        "electra.",
        {"dense": "discriminator_predictions.dense", "output": "discriminator_predictions.dense_prediction"},
    ),
    "generator": Part(
        "ElectraForMaskedLM",
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
        "electra.",
        {"dense": "classifier.dense", "output": "classifier.out_proj"},
    ),
    "encoder": Part("ElectraModel", "", {}),
}


def their_names(part: str, name: str) -> list[str]:
    """Their name of a tensor of one of our modules; three names for fused queries, keys and values."""
    inside = name.removeprefix("encoder.")
    if inside == name:
        module, dot, kind = name.partition(".")
        return [PARTS[part].head[module] + dot + kind]
    pieces = ("query", "key", "value") if ".attention.qkv." in name else ("",)
    names = [inside.replace("attention.qkv", f"attention.self.{piece}") for piece in pieces]
    for ours, theirs in ENCODER_NAMES:
        names = [re.sub(ours, theirs, name) for name in names]
    return [PARTS[part].encoder_prefix + name for name in names]


def to_theirs(part: str, weights: Weights) -> dict[str, Tensor]:
    """Copies of the tensors of one of our modules, under their names and in their shapes; a tied one under both."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        names = their_names(part, name)
        theirs.update(zip(names, (piece.clone() for piece in tensor.chunk(len(names))), strict=True))
    return theirs | {second: theirs[first] for second, first in PARTS[part].tied.items()}


def from_theirs(part: str, theirs: Weights, module: nn.Module, where: Path) -> dict[str, Tensor]:
    """A folder's tensors as float32 under our names.

    Args:
        module: ours of that shape, for names and shapes only.
        where: the tensors' file, for errors.

    Raises:
        FormatError: names every tensor that is missing, unexpected, of another shape, or not tied as it should be.
    """
    tied = PARTS[part].tied
    expected = {name: tensor.shape for name, tensor in to_theirs(part, module.state_dict()).items()}
    theirs = {name: tensor for name, tensor in theirs.items() if not name.endswith(POSITION_BUFFER)}
    wrong = [f"no {name}" for name in expected.keys() - theirs.keys() - tied.keys()]
    wrong += [f"an unexpected {name}" for name in theirs.keys() - expected.keys()]
    for name in expected.keys() & theirs.keys():
        if theirs[name].shape != expected[name]:
            wrong.append(f"{name} of shape {[*theirs[name].shape]} instead of {[*expected[name]]}")
        elif name in tied and not torch.equal(theirs[name], theirs.get(tied[name], theirs[name])):
            wrong.append(f"{name} unlike {tied[name]}, which it should be")
    if wrong:
        raise FormatError(f"{where}: expected the tensors of {PARTS[part].architecture} in the sizes of config.json, "
                          f"found {'; '.join(sorted(wrong))}; nothing was loaded, restore the folder")  # fmt: skip
    names = {name: their_names(part, name) for name in module.state_dict()}
    return {name: torch.cat([theirs[piece].float() for piece in pieces]) for name, pieces in names.items()}


def their_config(part: str, config: EncoderConfig, pad_token_id: int) -> dict[str, Any]:
    """What config.json says of a part."""
    sizes = {theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()}
    return {"architectures": [PARTS[part].architecture], **FIXED, **sizes, "pad_token_id": pad_token_id}


def label_config(labels: list[str]) -> dict[str, Any]:
    """What config.json says of a classifier's outputs; no labels: one score."""
    names = labels or ["score"]
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": "single_label_classification" if labels else "regression",
    }


def read_labels(config: Mapping[str, Any]) -> list[str]:
    """The names of a classifier's outputs in order: LABEL_0 and LABEL_1 there unless config.json says otherwise."""
    names: dict[str, str] = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [names[key] for key in sorted(names, key=int)]


def read_config(file: Path) -> tuple[str, EncoderConfig, dict[str, Any]]:
    """The part that a config.json describes, its encoder, and all that the file says.

    Raises:
        FormatError, ValueError: it describes no ELECTRA as it is here.
    """
    config = read_json(file)
    if not isinstance(config, dict):
        raise FormatError(f"{file}: expected a JSON object, found {type(config).__name__}; restore it")
    found = (config.get("architectures") or ["none"])[0]
    parts = [name for name, part in PARTS.items() if part.architecture == found]
    if not parts:
        known = ", ".join(part.architecture for part in PARTS.values())
        raise FormatError(f"{file}: expected an architecture of {known}, found {found}; convert the model to one")
    wrong = [f"{name} {config.get(name)}" for name, value in FIXED.items() if config.get(name) != value]
    wrong += [f"no {name}" for name in CONFIG_NAMES.values() if name not in config]
    if wrong:
        fixed = ", ".join(f"{name} {value}" for name, value in FIXED.items())
        raise FormatError(f"{file}: expected {fixed} and every size, found {'; '.join(wrong)}; "
                          "that is another model, choose an ELECTRA")  # fmt: skip
    values = {ours: config[theirs] for ours, theirs in CONFIG_NAMES.items()}
    return parts[0], from_dict(EncoderConfig, values, file), config


def empty_module(part: str, config: EncoderConfig, num_outputs: int) -> nn.Module:
    """Our module of a part, without memory for its weights."""
    with torch.device("meta"):
        if part == "classifier":
            return SequenceClassifier(config, num_outputs, pooling="first", head="mlp")
        if part == "encoder":
            return nn.ModuleDict({"encoder": Encoder(config, make_embeddings(config))})
        return {"discriminator": Discriminator, "generator": Generator}[part](config, make_embeddings(config))
