"""Updates replayed from a CUDA graph equal updates without it: on a card, and with a stand-in on a CPU."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import train_pretrain
from electra.training.cuda_graph import Replayed
from electra.training.ranks import Ranks
from tests.helpers.graphs import ON_CARD
from tests.helpers.pretraining import opened

LAUNCHES = ["fp32", "fp32 --micro-batch-size 3", "fp16"]
COMPILED = "fp32 --compile on --hidden-dropout-prob 0 --attention-dropout-prob 0"  # its dropout draws other values
FLAGS = "--hidden-size 32 --intermediate-size 64 --generator-size 0.5 --learning-rate 1e-3 --compile off"
CASES = [
    *product(["cpu"], LAUNCHES),
    *(pytest.param("cuda", launch, marks=ON_CARD) for launch in LAUNCHES),
    pytest.param("cuda", COMPILED, marks=[*ON_CARD, pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")]),
]


@pytest.mark.parametrize("length", ["16", "128"])  # without and with padding
@pytest.mark.parametrize(("recording_device", "flags"), CASES, indirect=["recording_device"])
def test_recorded_updates_lose_and_learn_as_those_launched_kernel_by_kernel(
    tiny_data, tmp_path, recording_device, flags, length
):
    ranks, found = Ranks(0, 1, recording_device), []
    flags = f"{FLAGS} --device {recording_device.type} --seq-length {length} --precision {flags}"
    for more in ("", "--no-cuda-graph --compile off"):
        run = opened(tiny_data, tmp_path, *f"{flags} {more}".split(), ranks=ranks)
        losses = torch.stack([update.losses[0] for update in train_pretrain.updates(run, ranks)])
        found.append((losses, torch.cat([p.detach().flatten() for p in run.state.model.parameters()])))
    (losses, weights), (expected_losses, expected_weights) = found
    assert len(losses) == 8
    torch.testing.assert_close(losses, expected_losses, rtol=1e-4 if "fp32" in flags else 1e-2, atol=0)
    # eight updates move a weight by 0.006 at most; where a gradient is near 0, rounding can turn Adam's step around
    assert (weights - expected_weights).abs().mean() < 1e-4


class Rows(NamedTuple):
    """Arguments of a function to record."""

    inputs: Tensor
    targets: Tensor
    nothing: None = None


def test_gradients_add_up_over_shapes_and_start_anew_when_an_update_has_cleared_them(recording_device):
    device = recording_device
    model, calls = nn.Linear(4, 2).to(device), []

    def function(rows: Rows) -> Tensor:
        calls.append(len(rows.inputs))
        loss = (model(rows.inputs) - rows.targets).square().sum() * torch.rand((), device=device)
        loss.backward()
        return loss.detach()

    replayed = Replayed(function, model.parameters())
    for update, sizes in enumerate([(3, 2, 3), (4, 3, 4)]):
        found = []
        for call in (replayed, function):
            torch.manual_seed(update)
            rows = [Rows(torch.full((n, 4), 1.0 + n, device=device), torch.zeros(n, 2, device=device)) for n in sizes]
            losses = [call(each).clone() for each in rows]
            found.append([*losses, *(parameter.grad.clone() for parameter in model.parameters())])
            model.zero_grad(set_to_none=True)
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    assert [calls.count(size) for size in (2, 3, 4)] == [4 + 1, 4 + 3, 4 + 2]  # warm-ups, recording, direct calls
