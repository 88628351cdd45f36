"""Training states of a tiny model, as a checkpoint saves them."""

from __future__ import annotations

from pathlib import Path

import torch

from electra.config import PretrainConfig
from electra.training.optimizer import make_optimizer, parameter_groups, set_update
from electra.training.state import TrainingState
from tests.conftest import tiny_electra, tiny_shape

SETTINGS = {
    "encoder": vars(tiny_shape()),
    "pretrain": vars(PretrainConfig()),
    "tokenizer": "a" * 64,
    "shards": "b" * 64,
}


def new_state(seed: int = 0, step: int = 0, loss_scale: float = 0.0) -> TrainingState:
    """A state after one update; `loss_scale` 0 is for float32."""
    model = tiny_electra(seed=seed)
    optimizer = make_optimizer(parameter_groups(model.named_parameters(), 0.01), 0.9, 0.999, 1e-6)
    set_update(optimizer, 1e-3, True)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01 * (seed + 1))
    optimizer.step()
    scaler = torch.amp.GradScaler("cpu", init_scale=loss_scale, enabled=loss_scale > 0)
    return TrainingState(SETTINGS, Path(__file__), model, optimizer, scaler, step=step, elapsed_seconds=float(step))
