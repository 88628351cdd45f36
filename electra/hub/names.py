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
from electra.training.checkpoint import in_brief, mismatches

Weights = Mapping[str, Tensor]

FIXED = {"model_type": "electra", "hidden_act": "gelu", "layer_norm_eps": LAYER_NORM_EPS}
"""What every encoder is here, so a folder's must say it; "gelu" is the exact form there."""

DEFAULTS = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False,
            "quantization_config": None}  # fmt: skip
"""What an encoder is here and a folder need not say."""

CONFIG_NAMES = {field.name: field.name for field in dataclasses.fields(EncoderConfig)} | {
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "attention_dropout_prob": "attention_probs_dropout_prob",
}
"""Our name of each setting of an encoder -> theirs."""

SIZES = {
    "vocab_size": ("embeddings.word_embeddings.weight", 0),
    "embedding_size": ("embeddings.word_embeddings.weight", 1),
    "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
    "hidden_size": ("encoder.layer.0.attention.self.query.weight", 0),
    "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 0),
}
"""Our name of each size -> the tensor and the axis that show it."""

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


def _prefixed(part: str, theirs: Weights) -> dict[str, Tensor]:
    """Tensors under the names that the part's class gives them: files exist with and without the encoder's prefix."""
    named = {name.removeprefix("electra."): t for name, t in theirs.items() if not name.endswith(POSITION_BUFFER)}
    prefix = PARTS[part].encoder_prefix
    return {prefix + n if n.startswith(("embeddings", "encoder.")) else n: tensor for n, tensor in named.items()}


def _check_sizes(part: str, theirs: Weights, config: EncoderConfig, where: Path) -> None:
    """Compare config.json with the tensors before a model of its sizes is built."""
    prefix = PARTS[part].encoder_prefix
    layers = {match[1] for name in theirs if (match := re.match(rf"{prefix}encoder\.layer\.(\d+)\.", name))}
    found = {"num_layers": len(layers)}
    for name, (tensor, axis) in SIZES.items():
        if (prefix + tensor) in theirs and theirs[prefix + tensor].ndim > axis:
            found[name] = theirs[prefix + tensor].shape[axis]
    wrong = [f"{CONFIG_NAMES[name]} {getattr(config, name)} there and {size} in the tensors"
             for name, size in found.items() if size != getattr(config, name)]  # fmt: skip
    if wrong:
        raise FormatError(f"{where}: expected tensors in the sizes of config.json, found {'; '.join(wrong)}; "
                          "restore the folder")  # fmt: skip


def from_theirs(part: str, theirs: Weights, config: EncoderConfig, num_outputs: int, where: Path) -> dict[str, Tensor]:
    """A folder's tensors as float32 under our names.

    Args:
        config, num_outputs: what config.json says of the encoder, and of a classifier.
        where: the tensors' file, for errors.

    Raises:
        FormatError: the sizes are not those of config.json, or tensors are missing, unexpected, of another shape, or
            not tied as they should be; the first are named.
    """
    theirs = _prefixed(part, theirs)
    _check_sizes(part, theirs, config, where)
    ours, tied = empty_module(part, config, num_outputs).state_dict(), PARTS[part].tied
    expected = {name: tensor.shape for name, tensor in to_theirs(part, ours).items()}
    wrong = mismatches({name: shape for name, shape in expected.items() if name not in tied or name in theirs}, theirs)
    if not wrong:
        wrong = [f"{second} unlike {first}, which it should be" for second, first in tied.items()
                 if not torch.equal(theirs.get(second, theirs[first]), theirs[first])]  # fmt: skip
    if wrong:
        raise FormatError(f"{where}: expected the tensors of {PARTS[part].architecture} in the sizes of config.json, "
                          f"found {in_brief(wrong)}; nothing was loaded, restore the folder")  # fmt: skip
    return {name: torch.cat([theirs[piece].float() for piece in their_names(part, name)]) for name in ours}


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


def read_labels(config: Mapping[str, Any], file: Path) -> list[str]:
    """The names of a classifier's outputs in order: LABEL_0 and LABEL_1 there unless config.json says otherwise.

    Raises:
        FormatError: the outputs are not one score, or classes of which one is right, each with its own name.
    """
    names: dict[str, str] = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    labels = [names.get(str(number), "") for number in range(len(names))]
    if "" in labels or len({*labels}) < len(labels):
        raise FormatError(f"{file}: expected id2label to name outputs 0 to {len(names) - 1}, each differently, found "
                          f"{', '.join(f'{key} {name}' for key, name in names.items())[:200]}; correct it")  # fmt: skip
    expected = "regression" if len(labels) == 1 else "single_label_classification"
    if (found := config.get("problem_type")) not in (None, expected):
        raise FormatError(f"{file}: expected problem_type {expected} (outputs: {len(labels)}), found {found}; "
                          "only one label or one score a text is here, choose another model")  # fmt: skip
    return labels


def read_config(file: Path) -> tuple[str, EncoderConfig, dict[str, Any]]:
    """The part that a config.json describes, its encoder, and all that the file says.

    Raises:
        FormatError: it describes no ELECTRA as it is here.
    """
    config = read_json(file, architectures=list[str] | None, id2label=dict[str, str] | None, problem_type=str | None,
                       finetuning_task=str | None, score_range=list[float] | None)  # fmt: skip
    found = (config.get("architectures") or ["none"])[0]
    parts = [name for name, part in PARTS.items() if part.architecture == found]
    if not parts:
        known = ", ".join(part.architecture for part in PARTS.values())
        raise FormatError(f"{file}: expected an architecture of {known}, found {found}; convert the model to one")
    wrong = [f"{name} {config.get(name)}" for name, value in FIXED.items() if config.get(name) != value]
    wrong += [f"{name} {config[name]}" for name, value in DEFAULTS.items() if config.get(name) not in (value, None)]
    wrong += [f"no {name}" for name in CONFIG_NAMES.values() if name not in config]
    if wrong:
        fixed = ", ".join(f"{name} {value}" for name, value in FIXED.items())
        raise FormatError(f"{file}: expected {fixed} and every size, found {'; '.join(wrong)}; "
                          "that is another model, choose an ELECTRA")  # fmt: skip
    shape = from_dict(EncoderConfig, {ours: config[theirs] for ours, theirs in CONFIG_NAMES.items()}, file)
    return parts[0], shape, config


def empty_module(part: str, config: EncoderConfig, num_outputs: int) -> nn.Module:
    """Our module of a part, without memory for its weights."""
    with torch.device("meta"):
        if part == "classifier":
            return SequenceClassifier(config, num_outputs, pooling="first", head="mlp")
        if part == "encoder":
            return nn.ModuleDict({"encoder": Encoder(config, make_embeddings(config))})
        return {"discriminator": Discriminator, "generator": Generator}[part](config, make_embeddings(config))
