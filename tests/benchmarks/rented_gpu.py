"""Train `small` to Mercier's 6 % row on a GPU that is rented by the minute, in calls of at most ten minutes.

    python -m tests.benchmarks.rented_gpu --work /tmp/gpu --out results/ [--text FILES ...] [--minutes 9] [--glue DIR]

Every call goes on where the last one stopped, says what it did and what is next, and leaves what must come back in
`--out`. Steps: copy `--text` (several calls may bring a part each; `--more-text` ends a call there); prepare shards;
train on the schedule of a million updates to update 62,500; write records, and weights in 16 bits in pieces of 15 MB
(`cat weights.* > model.pt`); fine-tune five seeds side by side, if `--glue` is given.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from electra.training.checkpoint import newest_good, read_tensors, torch_bytes
from electra.training.devices import EXIT_OUT_OF_TIME
from electra.training.log import read_metrics
from tests.conftest import ROOT

PIECE_BYTES = 15 * 10**6
MILESTONES = "0.00625,0.0125,0.025,0.05,0.0625"  # of a million updates; the release's curve begins at 50,000


def python(*commands: Sequence[object], seconds: float | None = None) -> bool:
    """Run scripts of the checkout side by side and show their output; return False if time ran out.

    If a script fails, exit with its code.
    """
    running = []
    for words in commands:
        print("+", *words, flush=True)
        running.append(subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT))
    ends = None if seconds is None else time.monotonic() + seconds
    try:
        for process in running:
            code = process.wait(None if ends is None else max(0.0, ends - time.monotonic()))
            if code not in (0, EXIT_OUT_OF_TIME):
                raise SystemExit(code)
    except subprocess.TimeoutExpired:
        return False
    finally:
        for process in running:
            process.kill()  # those still at work, after a failure or the end of the time
    return True


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
    parser.add_argument("--flags", default="", help="more flags of train_pretrain.py")
    parser.add_argument("--glue", type=Path, help="GLUE folder: fine-tune when pre-training is done")
    parser.add_argument("--tasks", default="cola,mrpc,stsb,rte,wnli", help="to fine-tune on")
    parser.add_argument("--glue-flags", default="", help="more flags of train_glue.py")
    asked, began = parser.parse_args(), time.monotonic()
    run, shards = asked.work / "small", asked.work / "shards"
    for folder in (asked.work / "text", asked.out):
        folder.mkdir(parents=True, exist_ok=True)
    for file in asked.text:
        shutil.copy(file, asked.work / "text")
    if asked.more_text:
        return print(f"copied {len(asked.text)} files; next: more text, or the same command without --more-text")
    python(["-m", "electra", "prepare", asked.work / "text", "--out", shards])
    ends = began + 60 * asked.minutes
    if (hours := (ends - time.monotonic()) / 3600) > 0:
        words = ["train_pretrain.py", "--data", shards, "--run-dir", run, "--stop-after", asked.stop_after]
        words += ["--milestones", MILESTONES, "--max-hours", f"{hours:.4f}", "--checkpoint-every", 12_500]
        python([*words, "--eval-every", 6_250, "--log-every", 500, *asked.flags.split()])
        hand_back(asked, run)
    step = read_metrics(run)[-1]["step"] if (run / "metrics.jsonl").exists() else 0
    if step < asked.stop_after:
        return print(f"update {step:,} of {asked.stop_after:,}; next: the same command")
    if asked.glue:
        words = ["train_glue.py", "--task", asked.tasks, "--data-dir", asked.glue, "--checkpoint", run]
        words += ["--out", asked.work / "glue", *asked.glue_flags.split()]
        is_done = python(*([*words, "--seeds", f"{seed},"] for seed in range(5)), seconds=ends - time.monotonic())
        for file in (asked.work / "glue").glob("results.jsonl"):
            shutil.copy(file, asked.out)
        if not is_done:
            return print("out of time; next: the same command")
    print("done; next: fetch what is in --out")


if __name__ == "__main__":
    main()
