"""Where and how a script runs: ranks, device, precision, stop signals, work done ahead. Only this module
reads torchrun's environment variables."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from electra.seeding import derive_seed

Item = TypeVar("Item")
Result = TypeVar("Result")

PRECISION_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Ranks(NamedTuple):
    """This process among those that torchrun started; (0, 1) without torchrun."""

    rank: int
    world_size: int
    device: torch.device

    def share(self, num_rows: int) -> tuple[int, int]:
        """First and last + 1 of this rank's rows of a global batch."""
        return num_rows * self.rank // self.world_size, num_rows * (self.rank + 1) // self.world_size

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
        yield Ranks(int(os.environ.get("RANK", "0")), world_size, here)
    finally:
        if world_size > 1:
            dist.destroy_process_group()


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself (emulation is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type of matrix products: "auto" is bf16 where the hardware has it, else fp16 on CUDA, fp32 on a CPU."""
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp16" if device.type == "cuda" else "fp32"
    return PRECISION_DTYPES[precision]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Matrix products in `dtype`; does nothing for float32. (`torch.cuda.amp` is this, deprecated.)"""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def seed_dropout(seed: int, *indices: int) -> None:
    """Re-seed torch's default generators: dropout, the one ambient draw, becomes a function of its place."""
    torch.manual_seed(derive_seed(seed, "dropout", *indices))


def set_deterministic(deterministic: bool) -> None:
    """Refuse kernels that add in an unstated order; on CUDA this is slower."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def ahead(make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(make, items)`, with the next result being made in a thread while the caller uses this one."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for item in items:
            following = pool.submit(make, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def micro_batches(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut rows [first, last) into pieces of at most `size` rows; 0 means one piece."""
    for start in range(first, last, size or max(1, last - first)):
        yield start, min(start + size, last) if size else last


class StopSignals:
    """Turns the first SIGTERM or SIGINT into a request that the loop reads; the second exits at once."""

    def __init__(self) -> None:
        self.received = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number
        print("\nstopping after this update; a second signal exits at once", file=sys.stderr)

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells report it: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.received
