"""Numbers that the release itself computed, and this package's tensors under the release's names.

`tests/fixtures/release/*.npz`: google-research/electra @ 8a46635, unedited, on TensorFlow 2.15.1 in float64 without
dropout. Norms are Euclidean; the probe of x is sum(x.ravel() * cos(0, 1, 2, ...)), in the release's layout.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from electra.ids import SpecialIds
from tests.conftest import ROOT

RELEASE_IDS = SpecialIds(pad=0, cls=101, sep=102, mask=103)

NAMES = (
    (r"^(discriminator\.)?encoder\.", "electra/"),
    (r"^generator\.encoder\.", "generator/"),
    (r"^(discriminator|generator)\.(dense|norm)\.", r"\1_predictions/\2/"),
    (r"^discriminator\.output\.", "discriminator_predictions/dense_1/"),
    (r"^generator\.bias$", "generator_predictions/output_bias"),
    (r"^output\.", "task_specific/dense/"),
    (r"embeddings\.(word|position|token_type)\.weight$", r"embeddings/\1_embeddings"),
    (r"embeddings\.norm\.", "embeddings/LayerNorm/"),
    (r"projection\.", "embeddings_project/"),
    (r"layers\.(\d+)\.", r"encoder/layer_\1/"),
    (r"attention\.out\.", "attention/output/dense/"),
    (r"attention_norm\.", "attention/output/LayerNorm/"),
    (r"feed_forward\.inner\.", "intermediate/dense/"),
    (r"feed_forward\.outer\.", "output/dense/"),
    (r"feed_forward_norm\.", "output/LayerNorm/"),
    (r"/norm/", "/LayerNorm/"),
    (r"LayerNorm/weight$", "LayerNorm/gamma"),
    (r"LayerNorm/bias$", "LayerNorm/beta"),
    (r"weight$", "kernel"),
)
"""Rules from our names to the release's, applied in order; queries, keys and values are split in addition."""


def release_name(name: str) -> str:
    """The release's name of one of our parameters."""
    for ours, theirs in NAMES:
        name = re.sub(ours, theirs, name)
    return name


def release_views(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Views of our tensors under the release's names and in its layout: (in, out), queries, keys and values apart."""
    views: dict[str, Tensor] = {}
    for name, tensor in tensors:
        theirs = release_name(name)
        tensor = tensor.T if theirs.endswith("kernel") else tensor
        if ".qkv." in name:
            pieces = zip(("query", "key", "value"), tensor.chunk(3, dim=-1), strict=True)
            views.update({theirs.replace("attention.qkv.", f"attention/self/{kind}/"): piece for kind, piece in pieces})
        else:
            views[theirs] = tensor
    return views


@functools.cache
def released(file: str) -> Mapping[str, Any]:
    """One file of numbers; a task's name is left out of the names of its variables."""
    numbers = dict(np.load(ROOT / "tests" / "fixtures" / "release" / file))
    numbers["names"] = [re.sub("task_specific/[a-z]+/", "task_specific/", name) for name in numbers["names"]]
    return numbers


def load_release_weights(model: nn.Module, numbers: Mapping[str, Any], deviation: float) -> None:
    """Give a float64 model the weights that the release's numbers were computed with, and check their digest."""
    views, draws, digest = release_views(model.named_parameters()), np.random.default_rng(0), hashlib.sha256()
    assert sorted(views) == sorted(numbers["names"])
    for name in numbers["names"]:
        values = draws.standard_normal(views[name].shape) * deviation + name.endswith("gamma")
        values = values.astype(np.float32).astype(np.float64)
        digest.update(values.tobytes())
        views[name].data.copy_(torch.from_numpy(values))
    assert digest.hexdigest() == numbers["start_sha256"]


def norms_and_probes(views: Mapping[str, Tensor], names: Iterable[str]) -> tuple[Any, Any]:
    """Norm and probe of each tensor, in the order of the names."""
    arrays = [views[name].detach().numpy().ravel() for name in names]
    cosines = np.cos(np.arange(max(array.size for array in arrays)))
    norms = [np.linalg.norm(array) for array in arrays]
    return np.array(norms), np.array([array @ cosines[: array.size] for array in arrays])
