"""AdamW with or without bias correction, parameter groups, layer-wise rates and the two schedules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from electra.config import SCHEDULES


def schedule_factor(schedule: str, step: int, num_train_steps: int, num_warmup_steps: float) -> float:
    """The share of the peak rate at update `step`, counted from 0; the first update of a warm-up has rate 0.

    "warmup_then_linear": up to 1 at the end of warm-up, then in a line to 0 at `num_train_steps`.
    "warmup_times_linear": the line from 1 to 0 over all steps, times the warm-up.
    Source: release model/optimization.py:36-45 for the product form.
    """
    warmup = min(1.0, step / num_warmup_steps) if num_warmup_steps else 1.0
    if schedule == "warmup_times_linear":
        return warmup * max(0.0, 1 - step / num_train_steps)
    if schedule == "warmup_then_linear":
        return min(warmup, max(0.0, (num_train_steps - step) / (num_train_steps - num_warmup_steps)))
    raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, found {schedule!r}; name one of them")


def takes_decay(parameter: Tensor) -> bool:
    """Weight matrices and embedding tables decay; biases and LayerNorm gains, the vectors, do not.

    Source: release model/optimization.py:56 (excludes by the names LayerNorm, layer_norm, bias).
    """
    return parameter.ndim >= 2


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    rates: dict[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Partition parameters by decay and by rate.

    Args:
        named_parameters: each distinct parameter once.
        weight_decay: of the decayed groups.
        rates: rate multiplier of each name; 1 for all when None.

    Returns:
        Groups with `params`, `decay` and `lr_scale`; none is empty.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        decay = weight_decay if takes_decay(parameter) else 0.0
        groups.setdefault((decay, rates[name] if rates else 1.0), []).append(parameter)
    return [
        {"params": parameters, "decay": decay, "lr_scale": lr_scale} for (decay, lr_scale), parameters in groups.items()
    ]


def layerwise_rates(names: Iterable[str], num_layers: int, decay: float, top_exponent: int) -> dict[str, float]:
    """Rate multiplier of each parameter of a `SequenceClassifier`.

    The head has 1; layer i of n (from 1, the top is n) has decay ** (n - i + top_exponent); the embeddings and
    their projection have decay ** (n + top_exponent). `top_exponent` is 1 in the paper's intent and 2 in the
    release as run (optimization.py:181-193, its issue 51).
    """
    rates = {}
    for name in names:
        layer = re.match(r"encoder\.layers\.(\d+)\.", name)
        below_top = num_layers - 1 - int(layer[1]) if layer else num_layers
        rates[name] = decay ** (below_top + top_exponent) if name.startswith("encoder.") else 1.0
    return rates


def make_optimizer(
    groups: list[dict[str, Any]], adam_beta1: float, adam_beta2: float, adam_epsilon: float
) -> torch.optim.AdamW:
    """torch's fused AdamW; `set_update` gives rate, epsilon and decay before each step."""
    groups = [{**group, "adam_epsilon": adam_epsilon} for group in groups]
    return torch.optim.AdamW(groups, lr=0.0, betas=(adam_beta1, adam_beta2), eps=adam_epsilon, fused=True)


def updates_made(optimizer: torch.optim.AdamW) -> int:
    """The optimizer's own count: updates applied so far, skipped ones left out."""
    state = next(iter(optimizer.state.values()), None)
    return 0 if state is None else int(state["step"].item())


def set_update(optimizer: torch.optim.AdamW, learning_rate: float, bias_correction: bool) -> None:
    """Prepare the next `optimizer.step()`.

    Without bias correction the step must be p -= lr x (m / (sqrt(v) + eps) + decay x p). AdamW, which corrects,
    does just that when its rate is lr x f, its epsilon eps / sqrt(1 - b2^t) and its decay decay / f, where
    f = (1 - b1^t) / sqrt(1 - b2^t) and t counts this update.
    Source: release model/optimization.py:114-133; the algebra is tested against a hand-written Adam.
    """
    rate_factor, root = 1.0, 1.0
    t = 0 if bias_correction else updates_made(optimizer) + 1
    for group in optimizer.param_groups:
        if not bias_correction:
            beta1, beta2 = group["betas"]
            root = (1 - beta2**t) ** 0.5
            rate_factor = (1 - beta1**t) / root
        group["lr"] = learning_rate * group["lr_scale"] * rate_factor
        group["eps"] = group["adam_epsilon"] / root
        group["weight_decay"] = group["decay"] / rate_factor


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """Norm of each network's gradients before clipping, the shared tables counted in both; waits for the device."""
    return {
        f"{name}_grad_norm": nn.utils.get_total_norm(
            [p.grad for p in network.parameters() if p.grad is not None]
        ).item()
        for name, network in model.named_children()
    }


def apply_update(
    optimizer: torch.optim.AdamW,
    scaler: torch.amp.GradScaler,
    parameters: Iterable[nn.Parameter],
    max_grad_norm: float,
) -> tuple[Tensor, Tensor]:
    """Clip the joint norm of unscaled gradients, step, and clear the gradients.

    An update whose gradient norm is not finite is skipped inside the fused kernel, without a wait for the device.

    Returns:
        grad_norm: scalar, before clipping.
        skipped: scalar, 1.0 if the update was skipped, else 0.0.
    """
    grad_norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    skipped = (~grad_norm.isfinite()).float()
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm, skipped
