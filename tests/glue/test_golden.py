"""Fine-tuning against the release's own numbers: outputs, losses, gradients, ten updates, rates and decay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import get_total_norm

from electra import cli
from electra.config import FINETUNE_RECIPES, EncoderConfig, FinetuneConfig
from electra.glue.finetune import learning_rates, loss_sum
from electra.model.networks import SequenceClassifier
from electra.training.optimizer import (
    apply_update,
    make_optimizer,
    parameter_groups,
    schedule_factor,
    set_update,
    takes_decay,
)
from tests.helpers.release import load_release_weights, norms_and_probes, release_views, released

# The peak rate and decay that the release was run with: the paper's. Its defaults are 1e-4 and 0.01.
CONFIG = cli.build(FinetuneConfig, {**FINETUNE_RECIPES["official"], "learning_rate": 3e-4, "weight_decay": 0.0})


def rates_by_name(model: SequenceClassifier, names: list[str]) -> np.ndarray:
    """Rate multiplier of each of the release's variables."""
    rates = learning_rates(model, CONFIG)
    filled = ((name, torch.full(p.shape, rates[name], dtype=torch.float64)) for name, p in model.named_parameters())
    views = release_views(filled)
    return CONFIG.learning_rate * np.array([views[name].flatten()[0].item() for name in names])


def norm_as_run(dense_norm: float, table: torch.Tensor, rows: torch.Tensor) -> float:
    """The release's gradient norm off a TPU: the word table's gradient a row a token, repeated ids not summed."""
    assert table.grad is not None
    return float((dense_norm**2 - table.grad.norm() ** 2 + rows.norm() ** 2) ** 0.5)


@pytest.mark.parametrize(("task", "num_outputs"), [("rte", 2), ("sts", 1)])
def test_outputs_losses_gradients_and_ten_updates_are_the_releases(task: str, num_outputs: int):
    numbers = released(f"finetune-{task}.npz")
    no_dropout: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_dropout_prob": 0.0}
    shape = EncoderConfig(vocab_size=200, num_layers=3, max_position_embeddings=64, **no_dropout)
    model = SequenceClassifier(shape, num_outputs, CONFIG.pooling, CONFIG.head).double()
    load_release_weights(model, numbers, 0.05)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    groups = parameter_groups(model.named_parameters(), CONFIG.weight_decay, learning_rates(model, CONFIG))
    optimizer = make_optimizer(groups, CONFIG.adam_beta1, CONFIG.adam_beta2, CONFIG.adam_epsilon)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    ids, mask, types = (torch.from_numpy(numbers[key]).long() for key in ("ids", "mask", "seg"))
    targets = torch.from_numpy(numbers["y"]) if num_outputs == 1 else torch.from_numpy(numbers["y"]).long()
    names = [name for name in numbers["names"] if not name.endswith("key/bias")]  # softmax does not feel these
    kept = [name in names for name in numbers["names"]]
    np.testing.assert_allclose(rates_by_name(model, numbers["names"]) * 0.9, numbers["rates"], rtol=1e-12)

    token_gradients: dict[str, Any] = {}
    word = model.encoder.embeddings.word
    model.encoder.embeddings.norm.register_full_backward_hook(lambda _, inputs, __: token_gradients.update(rows=inputs))
    for step in range(10):
        outputs = model(ids, mask.bool(), types)
        loss = loss_sum(outputs, targets)
        loss.backward()
        dense_norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None]).item()
        run_norm = norm_as_run(dense_norm, word.weight, token_gradients["rows"][0])
        if step == 0:
            np.testing.assert_allclose(outputs.detach().squeeze(-1), numbers["outputs"], rtol=0, atol=1e-12)
            assert loss.item() == pytest.approx(numbers["loss"], rel=1e-12)
            views = release_views((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
            norms, probes = norms_and_probes(views, names)
            np.testing.assert_allclose(norms, numbers["grad_norm"][kept], rtol=1e-11)
            assert (abs(probes - numbers["grad_probe"][kept]) <= 1e-11 * norms).all()
            assert dense_norm == pytest.approx(float(numbers["norm_dense"]), rel=1e-11)  # RTE: 30.92
            assert run_norm == pytest.approx(float(numbers["norm_as_run"]), rel=1e-11)  # RTE: 32.56
        factor = schedule_factor(CONFIG.schedule, step, 10, CONFIG.warmup_fraction * 10)
        set_update(optimizer, CONFIG.learning_rate * factor, CONFIG.bias_correction)
        # Clips as the release did, by its own norm and without the 1e-6 that torch adds.
        apply_update(optimizer, scaler, model.parameters(), CONFIG.max_grad_norm * (dense_norm + 1e-6) / run_norm)
    views = release_views((name, p.detach() - start[name]) for name, p in model.named_parameters())
    norms, probes = norms_and_probes(views, names)
    np.testing.assert_allclose(norms, numbers["change_norm"][kept], rtol=1e-11)
    assert (abs(probes - numbers["change_probe"][kept]) <= 1e-11 * norms).all()


def test_the_201_rates_and_decay_flags_of_electra_small_are_the_releases():
    numbers = released("finetune-rates-12-layers.npz")
    with torch.device("meta"):
        model = SequenceClassifier(EncoderConfig(), 2, CONFIG.pooling, CONFIG.head)
    names = numbers["names"]
    views = release_views((name, torch.full(p.shape, takes_decay(p))) for name, p in model.named_parameters())
    assert len(names) == len(views) == 201
    np.testing.assert_allclose(rates_by_name(model, names) * 0.9, numbers["rates"], rtol=2e-7)  # float32 there
    assert [bool(views[name].flatten()[0]) for name in names] == numbers["decays"].tolist()
