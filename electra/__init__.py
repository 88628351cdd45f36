"""ELECTRA from scratch in pure PyTorch: pre-training on random windows of text, and fine-tuning on GLUE.

The names below are imported when first used (PEP 562), so that the tokenizer's worker processes do not load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "config": ("EncoderConfig", "PretrainConfig", "FinetuneConfig"),
    "tokenizer.byte_level": ("Tokenizer",),
    "data.shards": ("open_shards",),
    "data.windows": ("WindowSampler",),
    "model.networks": ("Electra", "Generator", "Discriminator", "SequenceClassifier"),
    "pretrain.objective": ("replaced_token_detection",),
    "inference.predict": ("detect", "predict", "embed"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'electra' has no attribute {name!r}")
    return getattr(importlib.import_module(f"electra.{_MODULES[name]}"), name)
