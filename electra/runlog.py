"""The log of a run: metrics.jsonl is the source of truth, provenance.json says where its numbers come from."""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from electra.files import FormatError, atomic_write


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, in order; a last line cut short by a kill is left out.

    Raises:
        FormatError: another line is not JSON; it is named.
    """
    records = []
    lines = path.read_text().split("\n")
    for number, line in enumerate(lines, 1):
        try:
            records += [json.loads(line)] if line else []
        except json.JSONDecodeError:
            if number < len(lines):
                raise FormatError(
                    f"{path}:{number}: expected a JSON object, found {line[:40]!r}; remove the line"
                ) from None
    return records


class RunLog:
    """Appends one JSON object a line; on resume, first cuts back what came after the checkpoint."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [record for record in read_metrics(path) if record["step"] <= step] if path.exists() else []
        with atomic_write(path) as file:
            file.writelines(json.dumps(record).encode() + b"\n" for record in kept)

    def write(self, **record: float | int | str) -> None:
        """Append one record at once; a number that is not finite is written as null."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        with open(self.path, "a") as file:
            file.write(json.dumps(plain) + "\n")


class Meter:
    """Means an update of what is added, kept on the device and read only at logging time; and the speed."""

    def __init__(self, step: int, tokens_per_update: int) -> None:
        self._step, self._tokens_per_update = step, tokens_per_update
        self._sums: dict[str, Tensor] = {}
        self._started = time.monotonic()

    def add(self, **values: Tensor) -> None:
        """Add scalars to their sums; micro-batches add their shares."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()

    def read(self, step: int) -> dict[str, float]:
        """Means an update since the last reading, with `tokens_per_second`; starts a new interval at `step`."""
        num_updates, seconds = step - self._step, time.monotonic() - self._started
        means = {name: total.item() / num_updates for name, total in self._sums.items()}
        means["tokens_per_second"] = num_updates * self._tokens_per_update / seconds
        self._step, self._sums, self._started = step, {}, time.monotonic()
        return means

    def leave_out(self, seconds: float) -> None:
        """Take time that was not training (an evaluation, a checkpoint) out of the speed."""
        self._started += seconds


def progress_line(record: Mapping[str, float]) -> str:
    """What the progress bar shows of a training record: both losses apart, and the speed."""
    losses = f"masked_lm_loss {record['masked_lm_loss']:.3f}, disc_loss {record['disc_loss']:.4f}"
    return f"{losses}, {record['tokens_per_second']:,.0f} tokens/s"


def held_out_line(step: int, metrics: Mapping[str, float]) -> str:
    """The one line an evaluation prints; metrics.jsonl has every number."""
    return (
        f"update {step:,}, held out: loss on [MASK] {metrics['hidden_masked_lm_loss']:.3f} "
        f"(unigram entropy {metrics['unigram_entropy']:.3f}), disc_loss {metrics['disc_loss']:.4f} "
        f"(base rate {metrics['disc_base_rate_entropy']:.4f}), disc_auc {metrics['disc_auc']:.3f} "
        f"[{metrics['disc_auc_low']:.3f}, {metrics['disc_auc_high']:.3f}]"
    )


def commit() -> str:
    """The commit of the running code, "-dirty" if files differ from it, "unknown" outside a git checkout."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def provenance(command: Sequence[str], device: torch.device) -> dict[str, str | int]:
    """Commit, command, versions and hardware of this process, as plain JSON values."""
    on_cuda = device.type == "cuda"
    return {
        "commit": commit(),
        "command": " ".join(command),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if on_cuda else platform.processor() or platform.machine(),
        "num_threads": torch.get_num_threads(),
    }
