"""AdamW with or without bias correction, parameter groups, layer-wise rates and the two schedules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from electra.config import SCHEDULES


def schedule_factor(schedule: str, step: int, num_train_steps: int, num_warmup_steps: float) -> float:
    """Return the learning rate at update `step` (from 0) as a fraction of the peak. A warm-up starts at 0.

    "warmup_then_linear": rises to 1 during warm-up, then falls linearly to 0 at `num_train_steps`.
    "warmup_times_linear": the warm-up's rise times a linear fall from 1 to 0 over all steps. Source: release
    model/optimization.py:36-45.
    `num_warmup_steps` need not be whole: 10 % of 804 updates are 80.4.
    """
    warmup = min(1.0, step / num_warmup_steps) if num_warmup_steps else 1.0
    if schedule == "warmup_times_linear":
        return warmup * max(0.0, 1 - step / num_train_steps)
    if schedule == "warmup_then_linear":
        return min(warmup, max(0.0, (num_train_steps - step) / (num_train_steps - num_warmup_steps)))
    raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, found {schedule!r}")


def takes_decay(parameter: Tensor) -> bool:
    """Whether weight decay applies: to matrices and embedding tables, not to vectors (biases and LayerNorm gains).

    Source: release model/optimization.py:56 (excludes by the names LayerNorm, layer_norm, bias).
    """
    return parameter.ndim >= 2


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float, rates: dict[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return groups for `make_optimizer`, one per (weight decay, rate multiplier); the latter is `rates[name]` or 1."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        decay = weight_decay if takes_decay(parameter) else 0.0
        groups.setdefault((decay, rates[name] if rates else 1.0), []).append(parameter)
    return [{"params": group, "decay": decay, "lr_scale": scale} for (decay, scale), group in groups.items()]


def layerwise_rates(names: Iterable[str], num_layers: int, decay: float, top_exponent: int) -> dict[str, float]:
    """Return the rate multiplier of each parameter of a `SequenceClassifier`.

    The multiplier is 1 for the head, decay ** (n - i + top_exponent) for layer i of n (the top is n), and decay ** (n +
    top_exponent) for the embeddings and their projection. The paper intends `top_exponent` 1; the release uses 2
    (optimization.py:181-193, its issue 51).
    """
    rates = {}
    for name in names:
        layer = re.match(r"encoder\.layers\.(\d+)\.", name)
        below_top = num_layers - 1 - int(layer[1]) if layer else num_layers
        rates[name] = decay ** (below_top + top_exponent) if name.startswith("encoder.") else 1.0
    return rates


def make_optimizer(groups: list[dict[str, Any]], beta1: float, beta2: float, epsilon: float) -> torch.optim.AdamW:
    """Make torch's fused AdamW; `set_update` sets its rate, epsilon and decay before each step."""
    groups = [{**group, "adam_epsilon": epsilon} for group in groups]
    return torch.optim.AdamW(groups, lr=0.0, betas=(beta1, beta2), eps=epsilon, fused=True)


def updates_made(optimizer: torch.optim.AdamW) -> int:
    """Return the number of updates that the optimizer has made, skipped updates excluded."""
    state = next(iter(optimizer.state.values()), None)
    return 0 if state is None else int(state["step"].item())


def set_update(optimizer: torch.optim.AdamW, learning_rate: float, bias_correction: bool) -> None:
    """Set rate, epsilon and decay for the next `optimizer.step()`.

    Without bias correction the step is p -= lr x (m / (sqrt(v) + eps) + decay x p). torch's AdamW always corrects; it
    makes the same step with rate lr x f, epsilon eps / sqrt(1 - b2^t) and decay decay / f, where
    f = (1 - b1^t) / sqrt(1 - b2^t) and t is the number of this update, from 1.
    Source: release model/optimization.py:114-133; tested on the release's own updates.
    """
    rate_factor, root = 1.0, 1.0
    if not bias_correction:
        t, (beta1, beta2) = updates_made(optimizer) + 1, optimizer.param_groups[0]["betas"]
        root = (1 - beta2**t) ** 0.5
        rate_factor = (1 - beta1**t) / root
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_scale"] * rate_factor
        group["eps"] = group["adam_epsilon"] / root
        group["weight_decay"] = group["decay"] / rate_factor


def apply_update(
    optimizer: torch.optim.AdamW, scaler: torch.amp.GradScaler, parameters: Iterable[nn.Parameter], max_grad_norm: float
) -> tuple[Tensor, Tensor]:
    """Clip the joint norm of unscaled gradients, step, and clear the gradients.

    An update whose gradient norm is not finite is skipped; the fused kernel does so without a wait for the device.

    Returns the gradient norm before clipping, and 1.0 if the update was skipped, else 0.0; both are scalar tensors.
    """
    grad_norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    skipped = (~grad_norm.isfinite()).float()
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm, skipped
