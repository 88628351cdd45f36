"""The log of a run: metrics.jsonl holds every number, provenance.json says how and where the numbers were made."""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from electra.files import atomic_write, naming, read_records

METRICS, PROVENANCE, HELD_OUT = "metrics.jsonl", "provenance.json", "held-out"
Record = dict[str, Any]


def read_metrics(run_dir: Path, last_step: float = math.inf) -> list[Record]:
    """Return the records that a run has logged up to a step, in order; an incomplete last line is left out."""
    records = read_records(run_dir / METRICS, step=int) if (run_dir / METRICS).exists() else []
    return [record for record in records if record["step"] <= last_step]


def evaluations(records: Sequence[Record]) -> list[Record]:
    """Return the records of held-out evaluations."""
    return [record for record in records if record.get("split") == HELD_OUT]


class RunLog:
    """Writes a run's metrics.jsonl, one JSON object a line, and shows progress up to `last_step`.

    Records after `step`, where the run starts or resumes, are removed first, so that each step is logged once.
    The service `track`, if any, gets a copy of the records. If not `enabled`, nothing is written or shown.
    """

    def __init__(self, run_dir: Path, step: int, last_step: int, track: str = "", enabled: bool = True) -> None:
        self._path, self._enabled = run_dir / METRICS, enabled
        kept = read_metrics(run_dir, step)
        self.evaluations = evaluations(kept)
        if enabled:
            with atomic_write(self._path) as file:
                file.writelines(json.dumps(record).encode() + b"\n" for record in kept)
        self._started, self._first, self._last = time.monotonic(), step, last_step
        self._mirror = tracker(track if enabled else "", run_dir)
        self._bar = tqdm(total=last_step, initial=step, unit="update", disable=None if enabled else True, smoothing=0.1)

    def _write(self, record: Record) -> None:
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        with naming(self._path), open(self._path, "a") as file:
            file.write(json.dumps(plain) + "\n")
        self._mirror(plain)

    def training(self, step: int, numbers: Record) -> None:
        """Append a training record and show it; a number that is not finite becomes null."""
        if self._enabled:
            self._write({"step": step, **numbers})
            self._bar.set_postfix_str(progress_line(numbers), refresh=False)
            if self._bar.disable:  # no terminal, so no progress bar: print a line
                seconds_left = (time.monotonic() - self._started) / (step - self._first) * (self._last - step)
                left = tqdm.format_interval(seconds_left)
                self.say(f"update {step:,} of {self._last:,}: {progress_line(numbers)}, {left} left")

    def advance(self, step: int) -> None:
        """Move the progress bar to a step."""
        self._bar.update(step - self._bar.n)

    def held_out(self, step: int, metrics: Record) -> None:
        """Append the record of an evaluation and print its line."""
        record = {"step": step, "split": HELD_OUT, **metrics}
        self._write(record)
        self.evaluations.append(record)
        self.say(held_out_line(step, metrics))

    def say(self, text: str) -> None:
        """Print above the progress bar."""
        if self._enabled:
            tqdm.write(text)
            sys.stdout.flush()


def tracker(service: str, run_dir: Path) -> Callable[[Record], None]:
    """Return a function that copies records to Weights & Biases or TensorBoard; for "" it does nothing."""
    if not service:
        return lambda record: None
    try:
        if service == "wandb":
            import wandb

            run = wandb.init(project="electra", name=run_dir.name, dir=run_dir, resume="allow")
            return lambda record: run.log(_scalars(record), step=record["step"])
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        message = f"--track {service}: the package {error.name} is not installed; pip install -e '.[track]'"
        raise FileNotFoundError(message) from None
    writer = SummaryWriter(run_dir)

    def write(record: Record) -> None:
        for name, value in _scalars(record).items():
            writer.add_scalar(name, value, record["step"])

    return write


def _scalars(record: Record) -> dict[str, float]:
    """Return the numbers of a record by name; names of held-out numbers get the prefix `held-out/`."""
    prefix = f"{record['split']}/" if "split" in record else ""
    return {prefix + name: value for name, value in record.items() if isinstance(value, int | float) and name != "step"}


def progress_line(numbers: Mapping[str, float]) -> str:
    """Return a training record in one line: both losses, speed, memory and learning rate."""
    return (
        f"masked_lm_loss {numbers['masked_lm_loss']:.3f}, disc_loss {numbers['disc_loss']:.4f}, "
        f"{numbers['tokens_per_second']:,.0f} tokens/s, {numbers['peak_memory_bytes'] / 2**30:.1f} GiB, "
        f"lr {numbers['learning_rate']:.2e}"
    )


def held_out_line(step: int, metrics: Mapping[str, float]) -> str:
    """Return the main numbers of an evaluation in one line, each with its baseline."""
    loss, unigram_loss = metrics["masked_only_lm_loss"], metrics["unigram_loss"]
    line = f"update {step:,}, held out: loss on [MASK] {loss:.3f} (unigrams {unigram_loss:.3f})"
    if "disc_loss" in metrics:
        line += f", disc_loss {metrics['disc_loss']:.4f} (base rate {metrics['disc_base_rate_entropy']:.4f})"
        line += f", disc_auc {metrics['disc_auc']:.3f} [{metrics['disc_auc_low']:.3f}, {metrics['disc_auc_high']:.3f}]"
    return line


def commit() -> str:
    """Return the commit of the running code, with "-dirty" if its files have changed; "unknown" without git."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run([*command, "--exclude", "*"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """Return the processor's model if Linux names it, otherwise its architecture."""
    found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def provenance(command: Sequence[str], device: torch.device) -> dict[str, str | int]:
    """Return commit, command, versions and hardware of this process, as plain JSON values."""
    return {
        "commit": commit(),
        "command": " ".join(command),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "device_type": device.type,
        "num_devices": torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1,
        "num_threads": torch.get_num_threads(),
    }
