"""Ranks: one without torchrun, shares of the rows, and what two processes agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from electra.training.ranks import Ranks, started
from tests.helpers.pretraining import FORK

CPU = torch.device("cpu")


def test_asking_for_cuda_where_there_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(ValueError, match="--device: expected a CUDA device, found none; pass --device cpu"),
        started("cuda"),
    ):
        pass


def test_without_torchrun_there_is_one_rank(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with started("cpu") as ranks:
        assert ranks == Ranks(0, 1, CPU)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_ranks_share_all_rows_once(world_size):
    rows = [row for rank in range(world_size) for row in range(*Ranks(rank, world_size, CPU).share(13))]
    assert rows == list(range(13))


def one_of_two(rank: int, meeting_point: Path, answers: Any) -> None:
    """One process of a group of two; puts the results that both agree on into `answers`."""
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    ranks = Ranks(rank, 2, CPU, dist.new_group(backend="gloo"))
    layer = nn.Linear(1, 2)
    layer.weight.grad = torch.full_like(layer.weight, 3.0 + rank)  # the bias has none
    ranks.sum_gradients(layer.parameters())
    found = ranks.agree((143, 0)[rank]), ranks.add_up({"a": 1.5 + rank, "b": rank}), ranks.first_does(lambda: rank)
    answers.put((*found, layer.weight.grad.tolist(), layer.bias.grad))
    dist.destroy_process_group()


def test_two_ranks_agree_on_the_largest_code_and_add_up_numbers_and_gradients(tmp_path):
    answers = FORK.Queue()
    children = [FORK.Process(target=one_of_two, args=(rank, tmp_path / "meet", answers)) for rank in range(2)]
    for child in children:
        child.start()
    for _ in children:
        assert answers.get(timeout=60) == (143, {"a": 4.0, "b": 1.0}, 0, [[7.0], [7.0]], None)
    for child in children:
        child.join()
