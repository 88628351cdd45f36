"""A recorded update is the same update: on a CUDA device, and the bookkeeping on a stand-in that calls again."""

import contextlib
import types

import pytest
import torch
from torch import nn

import train_pretrain
from electra.training.cuda_graph import Replayed
from electra.training.log import Meter
from electra.training.ranks import Ranks

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

FLAGS = (
    "--num-layers 2 --hidden-size 32 --num-heads 2 --intermediate-size 64 --embedding-size 16 --generator-size 0.5 "
    "--batch-size 8 --num-train-steps 100 --num-warmup-steps 2 --learning-rate 1e-3 --compile off "
    "--device cuda"
)


def updates(data, folder, *flags):
    """The losses of eight updates, and the weights after them."""
    config, shape, _ = train_pretrain.parse(["--data", str(data), "--run-dir", str(folder), *FLAGS.split(), *flags])
    ranks = Ranks(0, 1, torch.device("cuda", 0))
    run = train_pretrain.open_run(config, shape, ranks)
    backward = train_pretrain.make_backward(config, run.state, ranks.device)
    losses = []
    for _ in range(8):
        meter = Meter(0, 1)
        update = train_pretrain.make_update(config, run.state, backward, next(run.batches), ranks, meter)
        run.state.count_update(update.skipped, 0.0)
        losses.append(meter.read(1)["loss"])
    return torch.tensor(losses), torch.cat([p.detach().flatten().cpu() for p in run.state.model.parameters()])


@on_cuda
@pytest.mark.parametrize("length", ["16", "128"])  # without and with padding
@pytest.mark.parametrize("flags", ["--precision fp32", "--precision fp32 --micro-batch-size 3", "--precision fp16"])
def test_replayed_updates_lose_and_learn_as_those_launched_kernel_by_kernel(tiny_data, tmp_path, flags, length):
    given = (*flags.split(), "--seq-length", length)
    losses, weights = updates(tiny_data, tmp_path / "replayed", *given)
    expected_losses, expected_weights = updates(tiny_data, tmp_path / "launched", *given, "--no-cuda-graph")
    torch.testing.assert_close(losses, expected_losses, rtol=1e-4 if "fp32" in flags else 1e-2, atol=0)
    # eight updates move a weight by 0.006 at most; where a gradient is near 0, rounding can turn Adam's step around
    assert (weights - expected_weights).abs().mean() < 1e-4


@pytest.fixture
def stand_in(monkeypatch):
    """torch.cuda's graphs on a CPU: what runs while recording is undone, a replay calls the function again."""
    model, replays = nn.Linear(4, 2), []

    def function(rows, targets, nothing):
        replays.append(len(rows))
        loss = (model(rows) - targets).square().sum() * torch.rand(())
        loss.backward()
        return loss.detach()

    class Recorded(Replayed):
        def _record(self, tensors):
            recording = super()._record(tensors)
            again = lambda: recording.outputs.copy_(function(*recording.inputs))  # noqa: E731
            return recording._replace(graph=types.SimpleNamespace(replay=again))

    @contextlib.contextmanager
    def record(graph, pool, capture_error_mode):
        before = [parameter.grad.clone() for parameter in model.parameters()]
        yield
        for parameter, gradient in zip(model.parameters(), before, strict=True):
            parameter.grad.copy_(gradient)

    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    stand_ins = {
        "graph_pool_handle": lambda: None,
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": lambda: None,
        "graph": record,
        "get_rng_state": torch.get_rng_state,
        "set_rng_state": torch.set_rng_state,
    }
    for name, instead in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, instead)
    return model, function, Recorded(function, model.parameters()), replays


def test_gradients_add_up_over_shapes_and_start_anew_when_an_update_has_cleared_them(stand_in):
    model, function, replayed, _ = stand_in
    for update, sizes in enumerate([(3, 2, 3), (4, 3, 4)]):
        found = []
        for call in (replayed, function):
            torch.manual_seed(update)
            calls = [
                (torch.full((rows, 4), 1.0 + place), torch.zeros(rows, 2), None) for place, rows in enumerate(sizes)
            ]
            losses = [call(*tensors).clone() for tensors in calls]
            found.append([*losses, *(parameter.grad.clone() for parameter in model.parameters())])
            model.zero_grad(set_to_none=True)
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_a_shape_is_recorded_once_and_replayed_from_then_on(stand_in):
    _, _, replayed, replays = stand_in
    for rows in (3, 2, 3, 3, 2):
        replayed(torch.ones(rows, 4), torch.zeros(rows, 2), None)
    assert replays.count(3) == 4 + 3  # three warm-ups and the recording, then a replay a call
    assert replays.count(2) == 4 + 2
