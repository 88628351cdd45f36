"""How a training script runs: precision, dropout seeds, batches made ahead, micro-batches, memory, stop requests."""

from __future__ import annotations

import ctypes
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import TypeVar

import torch

from electra.seeding import derive_seed

Item = TypeVar("Item")
Result = TypeVar("Result")

PRETRAIN_FP16_SCALE, FINETUNE_FP16_SCALE = 2.0**11, 2.0**14
"""The loss scales that fp16 training starts from. Source: R. Wang's electra_pytorch."""
PRECISION_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices; emulation would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def has_c_compiler() -> bool:
    """Whether there is a C compiler, which torch.compile needs: `$CC`, gcc or clang."""
    return any(map(shutil.which, (os.environ.get("CC", "gcc"), "clang")))


def choose_precision(precision: str, device: torch.device) -> str:
    """Return a setting's precision: "auto" is bf16 if the hardware has it, otherwise fp16 on CUDA, fp32 on a CPU."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp16" if device.type == "cuda" else "fp32"


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products for a setting, "auto" included."""
    return PRECISION_DTYPES[choose_precision(precision, device)]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return a context with matrix products in `dtype`; float32 changes nothing. (Older torch: `torch.cuda.amp`.)"""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def seed_dropout(seed: int, *indices: int) -> None:
    """Seed torch's default random streams, so that dropout depends on the seed and indices (step, rank, ...) alone."""
    torch.manual_seed(derive_seed(seed, "dropout", *indices))


def set_deterministic(deterministic: bool) -> None:
    """If `deterministic`, allow only kernels that add in a fixed order, which are slower on CUDA."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def ahead(make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `make(item)` for each item; a thread makes the next result while the caller uses the current result."""
    with ThreadPoolExecutor(1) as pool:
        pending = []
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) > 1:
                yield pending.pop(0).result()
        yield from (future.result() for future in pending)


def micro_batches(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield ranges (start, end) of at most `size` rows, which divide [first, last); size 0 gives one range."""
    size = size or last - first
    for start in range(first, last, size):
        yield start, min(start + size, last)


def peak_memory_bytes(device: torch.device) -> int:
    """Return the highest memory use so far: of torch's allocator on CUDA, of the process on a CPU.

    `getrusage` is not used, because a process inherits the peak of its parent through fork and exec.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    (kib,) = re.findall(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kib) * 1024


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # Source: malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 128 MiB for the next update; updates then take 9 % less time.

    By default glibc returns blocks of 32 MiB and more to the kernel, and every new block causes a page fault for each
    4 KiB. Larger blocks are still returned, because keeping them all made memory grow.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for option, value in ((M_MMAP_THRESHOLD, 2**27), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(option, value)


EXIT_OUT_OF_TIME = 75  # EX_TEMPFAIL: run the same command again


class StopRequests:
    """Requests to stop the loop: SIGTERM, SIGINT, or the end of `max_hours`. A second signal exits at once."""

    def __init__(self, max_hours: float) -> None:
        self._code = 0
        self._deadline = time.monotonic() + max_hours * 3600 if max_hours else math.inf
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._code:
            os._exit(128 + number)
        self._code = 128 + number
        os.write(2, b"\nstopping after this update; a second signal exits at once\n")  # print is not reentrant

    @property
    def exit_code(self) -> int:
        """0 to go on; 143 for SIGTERM and 130 for SIGINT, as in shells; 75 when `max_hours` are over."""
        return self._code or (EXIT_OUT_OF_TIME if time.monotonic() > self._deadline else 0)
