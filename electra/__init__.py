"""ELECTRA from scratch in pure PyTorch: pre-training on random windows, and fine-tuning on GLUE.

The names below are imported when first used (PEP 562), so that tokenizer workers never load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "EncoderConfig": "config",
    "PretrainConfig": "config",
    "FinetuneConfig": "config",
    "Tokenizer": "tokenizer.byte_level",
    "open_shards": "data.shards",
    "WindowSampler": "data.windows",
    "Electra": "model.networks",
    "Generator": "model.networks",
    "Discriminator": "model.networks",
    "SequenceClassifier": "model.networks",
    "replaced_token_detection": "pretrain.objective",
    "detect": "inference.predict",
    "predict": "inference.predict",
    "embed": "inference.predict",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'electra' has no attribute {name!r}")
    return getattr(importlib.import_module(f"electra.{_HOMES[name]}"), name)
