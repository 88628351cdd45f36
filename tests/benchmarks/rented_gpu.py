"""Train `small` to Mercier's 6 % row on a GPU that is rented by the minute, in calls of at most ten minutes.

    python -m tests.benchmarks.rented_gpu --work /tmp/gpu --out results/ [--text FILES ...] [--minutes 9] [--glue DIR]

Every call goes on where the last one stopped, says what it did and what is next, and leaves what must come back in
`--out`. Steps: copy `--text` (several calls may bring a part each; `--more-text` ends a call there); prepare shards;
time every way to launch an update and choose the fastest; train on the schedule of a million updates to update 62,500;
write records, and weights in 16 bits in pieces of 15 MB (`cat weights.* > model.pt`); fine-tune, if `--glue` is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from electra.files import write_json
from electra.training.checkpoint import newest_good, read_tensors, torch_bytes
from electra.training.devices import EXIT_OUT_OF_TIME
from electra.training.log import read_metrics
from tests.benchmarks.bench_pretrain import LAUNCHES
from tests.conftest import ROOT

PIECE_BYTES = 15 * 10**6
MILESTONES = "0.00625,0.0125,0.025,0.05,0.0625"  # of a million updates; the official curve has points at these


def python(*words: str, seconds: float | None = None) -> None:
    """Run a script of the checkout and show its output; a failure ends the call, the end of the time does not."""
    print("+", *words, flush=True)
    try:
        done = subprocess.run([sys.executable, *words], cwd=ROOT, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return print("out of time", flush=True)
    if done.returncode not in (0, EXIT_OUT_OF_TIME):
        raise SystemExit(done.returncode)


def train(asked: argparse.Namespace, run: Path, *flags: str) -> None:
    """Train into `run`."""
    words = ["train_pretrain.py", "--data", str(asked.work / "shards"), "--run-dir", str(run)]
    python(*words, *asked.flags.split(), *flags)


def choose_launch(asked: argparse.Namespace) -> str:
    """Return the flags of the fastest way to launch an update, by the last interval of a short run of each."""
    speeds = {}
    for name, flags in {"default": "", **LAUNCHES}.items():
        run = asked.work / "try" / name.replace(", ", "-")
        every = str(max(1, asked.try_updates // 4))
        train(asked, run, *flags.split(), "--stop-after", str(asked.try_updates), "--log-every", every)
        speeds[flags] = next(r["tokens_per_second"] for r in reversed(read_metrics(run)) if "tokens_per_second" in r)
        print(f"{name}: {speeds[flags]:,.0f} tokens/s", flush=True)
    write_json(asked.out / "launches.json", speeds)
    return max(speeds, key=lambda flags: speeds[flags])


def halved(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a weights file in 16 bits; a tensor with two names, like a shared table, stays one."""
    halves: dict[int, torch.Tensor] = {}
    weights = {name: halves.setdefault(t.data_ptr(), t.half()) for name, t in read_tensors(path).items()}
    if not all(tensor.isfinite().all() for tensor in halves.values()):
        raise ValueError(f"{path}: expected weights within the range of float16, found larger ones; keep 32 bits")
    return weights


def hand_back(asked: argparse.Namespace, run: Path) -> None:
    """Write records, tokenizer and the newest weights, in 16 bits and in pieces, into `--out`."""
    checkpoint = newest_good(run)
    assert checkpoint is not None
    for file in [*run.glob("*.json*"), checkpoint / "tokenizer.json"]:
        shutil.copy(file, asked.out)
    content = torch_bytes(halved(checkpoint / "model.pt"))
    for number, start in enumerate(range(0, len(content), PIECE_BYTES)):
        (asked.out / f"weights.{number:02d}").write_bytes(content[start : start + PIECE_BYTES])
    print(f"{checkpoint.name}: {len(content):,} bytes of weights in {number + 1} pieces", flush=True)


def main() -> None:
    """Do the steps that are left, as far as the minutes reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder that stays between calls")
    parser.add_argument("--out", type=Path, required=True, help="folder that comes back after a call")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="archives or text files to copy")
    parser.add_argument("--more-text", action="store_true", help="another call brings more text: stop after copying")
    parser.add_argument("--minutes", type=float, default=9.0, help="for this call (default 9)")
    parser.add_argument("--stop-after", type=int, default=62_500, help="last update (default 62500)")
    parser.add_argument("--try-updates", type=int, default=200, help="of each way to launch an update (default 200)")
    parser.add_argument("--flags", default="", help="more flags of train_pretrain.py, for every run")
    parser.add_argument("--glue", type=Path, help="GLUE folder: fine-tune when pre-training is done")
    parser.add_argument("--tasks", default="cola,mrpc,stsb,rte,wnli", help="to fine-tune on")
    asked, began = parser.parse_args(), time.monotonic()
    run, launch = asked.work / "small", asked.work / "launch.json"
    for folder in (asked.work / "text", asked.out):
        folder.mkdir(parents=True, exist_ok=True)
    for file in asked.text:
        shutil.copy(file, asked.work / "text")
    if asked.more_text:
        return print(f"copied {len(asked.text)} files; next: more text, or the same command without --more-text")
    python("-m", "electra", "prepare", str(asked.work / "text"), "--out", str(asked.work / "shards"))
    if not launch.exists():
        write_json(launch, {"flags": choose_launch(asked)})
    ends = began + 60 * asked.minutes
    if (hours := (ends - time.monotonic()) / 3600) > 0:
        flags = [*json.loads(launch.read_text())["flags"].split(), "--stop-after", str(asked.stop_after)]
        flags += ["--milestones", MILESTONES, "--max-hours", f"{hours:.4f}", "--checkpoint-every", "2500"]
        train(asked, run, *flags, "--eval-every", "2500", "--log-every", "500")
        hand_back(asked, run)
    step = read_metrics(run)[-1]["step"] if (run / "metrics.jsonl").exists() else 0
    if step < asked.stop_after:
        return print(f"update {step:,} of {asked.stop_after:,}; next: the same command")
    if asked.glue:
        glue = ["train_glue.py", "--task", asked.tasks, "--seeds", "5", "--checkpoint", str(run)]
        seconds = max(1.0, ends - time.monotonic())
        python(*glue, "--data-dir", str(asked.glue), "--out", str(asked.work / "glue"), seconds=seconds)
        shutil.copy(asked.work / "glue/results.jsonl", asked.out)
    print("pre-training is done; next: the same command with --glue for more seeds, or fetch what is in --out")


if __name__ == "__main__":
    main()
