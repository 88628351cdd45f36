"""A recorded update is the same update: on a CUDA device; elsewhere these are skipped."""

import pytest
import torch

import train_pretrain
from electra.runlog import Meter
from electra.runtime import Ranks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

FLAGS = (
    "--num-layers 2 --hidden-size 32 --num-heads 2 --intermediate-size 64 --embedding-size 16 --generator-size 0.5 "
    "--seq-length 16 --batch-size 8 --num-train-steps 100 --num-warmup-steps 2 --learning-rate 1e-3 --compile off "
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


@pytest.mark.parametrize("flags", ["--precision fp32", "--precision fp32 --micro-batch-size 3", "--precision fp16"])
def test_replayed_updates_lose_and_learn_as_those_launched_kernel_by_kernel(tiny_data, tmp_path, flags):
    losses, weights = updates(tiny_data, tmp_path / "replayed", *flags.split())
    expected_losses, expected_weights = updates(tiny_data, tmp_path / "launched", *flags.split(), "--no-cuda-graph")
    tolerance = 1e-4 if "fp32" in flags else 1e-2
    torch.testing.assert_close(losses, expected_losses, rtol=tolerance, atol=0)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=tolerance)


def test_dropout_of_a_replay_follows_the_seed_set_before_it(tiny_data, tmp_path):
    losses, _ = updates(tiny_data, tmp_path / "a", "--precision", "fp32", "--seed", "1")
    again, _ = updates(tiny_data, tmp_path / "b", "--precision", "fp32", "--seed", "1")
    none, _ = updates(tiny_data, tmp_path / "c", "--precision", "fp32", "--seed", "1", "--hidden-dropout-prob", "0")
    torch.testing.assert_close(losses, again, rtol=1e-4, atol=0)
    assert (losses - none).abs().max() > 1e-3
