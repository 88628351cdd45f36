"""The processes that torchrun starts. Only this module reads torchrun's environment variables."""

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
    """This process among those that torchrun started; (0, 1) without torchrun."""

    rank: int
    world_size: int
    device: torch.device
    host_group: dist.ProcessGroup | None = None  # gloo, for what is agreed on without the device

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and speaks."""
        return self.rank == 0

    def say(self, text: str) -> None:
        """Print on the first rank."""
        if self.is_first:
            print(text)

    def share(self, num_rows: int) -> tuple[int, int]:
        """First and last + 1 of this rank's rows of a global batch."""
        return num_rows * self.rank // self.world_size, num_rows * (self.rank + 1) // self.world_size

    def agree(self, code: int) -> int:
        """The largest of the ranks' codes: a stop that one rank wants is a stop for all."""
        if self.host_group is None:
            return code
        tensor = torch.tensor(code)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, self.host_group)
        return int(tensor)

    def add_up(self, numbers: dict[str, float]) -> dict[str, float]:
        """Sums over the ranks of what each has measured on its own rows."""
        if self.host_group is None:
            return numbers
        sums = torch.tensor([*numbers.values()], dtype=torch.float64)
        dist.all_reduce(sums, group=self.host_group)
        return dict(zip(numbers, sums.tolist(), strict=True))

    def first_does(self, act: Callable[[], Result]) -> Result:
        """What `act` returns on the first rank, on all ranks; the others only wait for it."""
        if self.host_group is None:
            return act()
        box = [act() if self.is_first else None]
        dist.broadcast_object_list(box, src=0, group=self.host_group)
        return cast(Result, box[0])

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum gradients over the ranks, in place, as one flat `all_reduce`."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


@contextlib.contextmanager
def started(device: str) -> Iterator[Ranks]:
    """Join the process group if torchrun started this process, choose the device, and leave the group at the end.

    Raises:
        ValueError: "cuda" is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: expected a CUDA device, found none; pass --device cpu")
    on_cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        dist.init_process_group("nccl" if on_cuda else "gloo")
    if on_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        here = torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
        host_group = dist.new_group(backend="gloo") if world_size > 1 else None
        yield Ranks(int(os.environ.get("RANK", "0")), world_size, here, host_group)
    finally:
        if world_size > 1:
            dist.destroy_process_group()
