"""How a script runs: precision, seeds of dropout, work done ahead, micro-batches, memory, stop requests."""

from __future__ import annotations

import ctypes
import math
import os
import re
import resource
import signal
import sys
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
    """Whether the hardware multiplies bfloat16 matrices itself (emulation is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(precision: str, device: torch.device) -> str:
    """What "auto" means here: bf16 where the hardware has it, else fp16 on CUDA and fp32 on a CPU."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp16" if device.type == "cuda" else "fp32"


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type of matrix products for a setting, "auto" included."""
    return PRECISION_DTYPES[choose_precision(precision, device)]


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
    """`map(make, items)`; a thread makes the next result while the caller uses this one."""
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


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: by torch's allocator on CUDA, resident in all of the process on a CPU.

    On Linux the peak of `getrusage` passes through fork and exec: a process would report what its parent held.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "linux":
        (kib,) = re.findall(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(kib) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 128 MiB for the next update.

    By default it returns blocks of 32 MiB and more to the kernel, which must clear their pages before they are used
    again: a page fault for every 4 KiB of logits. Larger blocks still go back, since keeping them could leave holes
    that nothing fills. Other C libraries are left as they are.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for option, value in ((M_MMAP_THRESHOLD, 2**27), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(option, value)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # Source: malloc.h


EXIT_OUT_OF_TIME = 75  # EX_TEMPFAIL: nothing is wrong, run the same command again


class StopRequests:
    """Why the loop should stop: the first SIGTERM or SIGINT, or the end of its hours. A second signal exits at once."""

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
        """0 to go on; 143 for SIGTERM and 130 for SIGINT, as shells report them; 75 when the hours are over."""
        return self._code or (EXIT_OUT_OF_TIME if time.monotonic() > self._deadline else 0)
