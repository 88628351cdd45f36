"""The processes (ranks) that torchrun starts. Only this module reads torchrun's environment variables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

Result = TypeVar("Result")


class Ranks(NamedTuple):
    """This process's place among the processes that torchrun started: rank 0 of 1 without torchrun."""

    rank: int
    world_size: int
    device: torch.device
    host_group: dist.ProcessGroup | None = None  # gloo, for CPU tensors

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes files and prints."""
        return self.rank == 0

    def say(self, text: str) -> None:
        """Print on the first rank only."""
        if self.is_first:
            print(text)

    def share(self, num_rows: int) -> tuple[int, int]:
        """Return the range (start, end) of this rank's rows in a batch of `num_rows` rows for all ranks."""
        return num_rows * self.rank // self.world_size, num_rows * (self.rank + 1) // self.world_size

    def agree(self, code: int) -> int:
        """Return the largest exit code of all ranks: all ranks stop when one rank wants to stop."""
        tensor = torch.tensor(code)
        if self.host_group is not None:
            dist.all_reduce(tensor, dist.ReduceOp.MAX, self.host_group)
        return int(tensor)

    def add_up(self, numbers: dict[str, float]) -> dict[str, float]:
        """Return each number summed over the ranks; every rank measured the numbers on its own rows."""
        sums = torch.tensor([*numbers.values()], dtype=torch.float64)
        if self.host_group is not None:
            dist.all_reduce(sums, group=self.host_group)
        return dict(zip(numbers, sums.tolist(), strict=True))

    def first_does(self, act: Callable[[], Result]) -> Result:
        """Call `act` on the first rank only; returns its result on all ranks."""
        results = [act() if self.is_first else None]
        if self.host_group is not None:
            dist.broadcast_object_list(results, src=0, group=self.host_group)
        return cast(Result, results[0])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over the ranks in place, with one `all_reduce` of a flat copy."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextlib.contextmanager
def started(device: str) -> Iterator[Ranks]:
    """Yield this process's `Ranks`; inside the context it is in torchrun's process group, if torchrun started it."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: expected a CUDA device, found none; pass --device cpu")
    on_cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if on_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    here = torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
    if world_size == 1:
        yield Ranks(rank, world_size, here)
        return
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield Ranks(rank, world_size, here, dist.new_group(backend="gloo"))
    finally:
        dist.destroy_process_group()
