"""What one update costs, in counts and not in seconds: a slower path shows here without a clock."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import train_pretrain
from electra.config import EncoderConfig
from electra.pretrain.masking import count_targets
from tests.helpers.pretraining import ALONE, opened

ROWS, LENGTH, MICRO_BATCHES = 6, 23, 2
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}


class Counting(TorchDispatchMode):
    """Every operator that runs, with the shapes it makes and the random numbers it draws."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.made: list[tuple[str, tuple[int, ...]]] = []
        self.num_drawn = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        self.calls[name] += 1
        if isinstance(out, torch.Tensor) and not func.is_view:
            self.made.append((name, tuple(out.shape)))
        if name in ("random_", "bernoulli_", "exponential_", "uniform_", "normal_"):
            self.num_drawn += out.numel()
        return out


@pytest.fixture(scope="module")
def counted(tiny_data, tmp_path_factory) -> tuple[Counting, EncoderConfig, EncoderConfig]:
    """The second update of two micro-batches, counted; and the shapes of discriminator and generator."""
    flags = (
        "--num-layers 3 --hidden-size 26 --num-heads 2 --intermediate-size 37 --embedding-size 11 --generator-size 0.5 "
        f"--batch-size {ROWS} --seq-length {LENGTH} --micro-batch-size {ROWS // MICRO_BATCHES} --eval-every 9"
    )
    run = opened(tiny_data, tmp_path_factory.mktemp("counted"), *flags.split())
    updates, counting = train_pretrain.updates(run, ALONE), Counting()
    next(updates)
    with counting:
        next(updates)
    return counting, run.shape, run.shape.generator(run.config.generator_size)


def test_only_targets_pass_the_language_model_head(counted):
    counting, shape, _ = counted
    slots = ROWS // MICRO_BATCHES * count_targets(LENGTH, 0.15)
    heads = [made for name, made in counting.made if name in PRODUCTS and made[-1] == shape.vocab_size]
    assert heads == [(slots, shape.vocab_size)] * MICRO_BATCHES


def test_nothing_waits_for_the_device_within_an_update(counted):
    counting, _, _ = counted
    assert counting.calls["_local_scalar_dense"] == 0  # every .item(), int(), float(), bool() of a tensor
    assert counting.calls["nonzero"] == 0  # boolean indexing


def test_dropout_draws_a_quarter_of_a_number_a_value_and_sampling_none(counted):
    counting, shape, small = counted
    rows = ROWS // MICRO_BATCHES
    values = [rows * LENGTH * shape.embedding_size] * 2
    for encoder in (shape, small):
        values += [rows * encoder.num_heads * LENGTH * LENGTH, *[rows * LENGTH * encoder.hidden_size] * 2] * 3
    assert counting.num_drawn == MICRO_BATCHES * sum((count + 3) // 4 for count in values)
