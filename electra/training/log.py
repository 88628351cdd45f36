"""The log of a run: metrics.jsonl holds every number, provenance.json says where the numbers come from."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from electra.files import atomic_write, naming, read_records

HELD_OUT = "held-out"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, in order; a last line cut short by a kill is left out.

    Raises:
        FormatError: another line is not a JSON object with a step; it is named.
    """
    return read_records(path, step=int)


def metrics_until(run_dir: Path, step: int) -> list[dict[str, Any]]:
    """What a run has logged up to a step, evaluations included; nothing if the run is new."""
    path = run_dir / "metrics.jsonl"
    return [record for record in read_metrics(path) if record["step"] <= step] if path.exists() else []


def evaluations(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out records among `records`."""
    return [record for record in records if record.get("split") == HELD_OUT]


class RunLog:
    """Writes a run's metrics.jsonl, one JSON object a line, and shows progress to the person watching.

    On resume, records after the checkpoint's step are removed first, so that each step is logged once.

    Args:
        run_dir: folder of the run.
        step: the step of the checkpoint that the run resumes from; 0 for a new run.
        last_step: the last step of the progress bar.
        track: service that gets a copy of the records, or "".
        enabled: False on all ranks but the first: nothing is written or shown.
    """

    def __init__(self, run_dir: Path, step: int, last_step: int, track: str = "", enabled: bool = True) -> None:
        self._path, self._enabled = run_dir / "metrics.jsonl", enabled
        kept = metrics_until(run_dir, step)
        self.evaluations = evaluations(kept)
        if enabled:
            with atomic_write(self._path) as file:
                file.writelines(json.dumps(record).encode() + b"\n" for record in kept)
        self._started, self._first, self._last = time.monotonic(), step, last_step
        self._mirror = tracker(track if enabled else "", run_dir)
        self._bar = tqdm(total=last_step, initial=step, unit="update", disable=None if enabled else True, smoothing=0.1)

    def _write(self, record: dict[str, Any]) -> None:
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        with naming(self._path), open(self._path, "a") as file:
            file.write(json.dumps(plain) + "\n")
        self._mirror(plain)

    def training(self, step: int, record: dict[str, Any]) -> None:
        """Append a training record and show it beside the progress bar; a number that is not finite becomes null."""
        if self._enabled:
            self._write({"step": step, **record})
            self._bar.set_postfix_str(progress_line(record), refresh=False)
            if self._bar.disable:  # no terminal, so no progress bar: print a line
                seconds_left = (time.monotonic() - self._started) / (step - self._first) * (self._last - step)
                left = tqdm.format_interval(seconds_left)
                self.say(f"update {step:,} of {self._last:,}: {progress_line(record)}, {left} left")

    def advance(self, step: int) -> None:
        """Move the progress bar to a step."""
        self._bar.update(step - self._bar.n)

    def held_out(self, step: int, metrics: dict[str, Any]) -> None:
        """Append a held-out record and print its line."""
        self._write({"step": step, "split": HELD_OUT, **metrics})
        self.evaluations.append({"step": step, **metrics})
        self.say(held_out_line(step, metrics))

    def say(self, text: str) -> None:
        """Print above the progress bar."""
        if self._enabled:
            tqdm.write(text)
            sys.stdout.flush()


def tracker(service: str, run_dir: Path) -> Callable[[dict[str, Any]], None]:
    """A function that copies records to Weights & Biases or TensorBoard, or does nothing for "".

    Raises:
        FileNotFoundError: the service's package is not installed.
    """
    if not service:
        return lambda record: None
    try:
        if service == "wandb":
            import wandb

            run = wandb.init(project="electra", name=run_dir.name, dir=run_dir, resume="allow")
            return lambda record: run.log(_scalars(record), step=record["step"])
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        message = f"--track {service}: expected the package {error.name}, found none; pip install -e '.[track]'"
        raise FileNotFoundError(message) from None
    writer = SummaryWriter(run_dir)

    def write(record: dict[str, Any]) -> None:
        for name, value in _scalars(record).items():
            writer.add_scalar(name, value, record["step"])

    return write


def _scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a record, held-out ones under their own prefix."""
    prefix = f"{record['split']}/" if "split" in record else ""
    return {prefix + name: value for name, value in record.items() if isinstance(value, int | float) and name != "step"}


class Meter:
    """Means per update of the values added, and the speed. Sums stay on the device until they are read."""

    def __init__(self, step: int, tokens_per_update: int) -> None:
        self._step, self._tokens_per_update = step, tokens_per_update
        self._sums: dict[str, Tensor] = {}
        self._started = time.monotonic()

    def add(self, **values: Tensor) -> None:
        """Add scalars to their sums; each micro-batch adds its share."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()

    def read(self, step: int) -> dict[str, float]:
        """Means per update since the last reading, and `tokens_per_second`; starts a new interval at `step`."""
        num_updates, seconds = step - self._step, time.monotonic() - self._started
        means = {name: total.item() / num_updates for name, total in self._sums.items()}
        means["tokens_per_second"] = num_updates * self._tokens_per_update / seconds
        self._step, self._sums, self._started = step, {}, time.monotonic()
        return means

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Do not count the time inside: it is not training."""
        paused = time.monotonic()
        yield
        self._started += time.monotonic() - paused


def progress_line(record: Mapping[str, float]) -> str:
    """What the progress bar shows of a training record: both losses, speed, memory and learning rate."""
    return (
        f"masked_lm_loss {record['masked_lm_loss']:.3f}, disc_loss {record['disc_loss']:.4f}, "
        f"{record['tokens_per_second']:,.0f} tokens/s, {record['peak_memory_bytes'] / 2**30:.1f} GiB, "
        f"lr {record['learning_rate']:.2e}"
    )


def held_out_line(step: int, metrics: Mapping[str, float]) -> str:
    """The one line an evaluation prints; metrics.jsonl has every number."""
    line = (
        f"update {step:,}, held out: loss on [MASK] {metrics['masked_only_lm_loss']:.3f} "
        f"(unigrams {metrics['unigram_loss']:.3f})"
    )
    if "disc_loss" not in metrics:
        return line
    return (
        f"{line}, disc_loss {metrics['disc_loss']:.4f} (base rate {metrics['disc_base_rate_entropy']:.4f}), disc_auc "
        f"{metrics['disc_auc']:.3f} [{metrics['disc_auc_low']:.3f}, {metrics['disc_auc_high']:.3f}]"
    )


def commit() -> str:
    """The commit of the running code, "-dirty" if files differ from it, "unknown" outside a git checkout."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """The processor's model where Linux names it, or its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def provenance(command: Sequence[str], device: torch.device) -> dict[str, str | int]:
    """Commit, command, versions and hardware of this process, as plain JSON values."""
    on_cuda = device.type == "cuda"
    return {
        "commit": commit(),
        "command": " ".join(command),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if on_cuda else processor(),
        "device_type": device.type,
        "num_devices": torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1,
        "num_threads": torch.get_num_threads(),
    }
