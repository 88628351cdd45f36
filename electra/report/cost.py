"""Command `cost`: print parameters and FLOPs computed from settings, and hours and memory measured by a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from electra import cli
from electra.config import DEMO_VOCAB_SIZE, SIZES, EncoderConfig, PretrainConfig
from electra.model.flops import UTILIZATION, device_tflops, hardware_pfs_days, pfs_days
from electra.report.efficiency import block_table
from electra.report.runs import PretrainRun, flops_of_update, read_inputs
from electra.scores.tables import NOT_MEASURED


def flops_lines(config: PretrainConfig, shape: EncoderConfig) -> list[str]:
    """Return lines with FLOPs of a token and of the run, and petaflop/s-days of the run, by two ways of counting."""
    conventions = ("the release's count", "matrix products, backward = 2 x forward")
    lines = [f"{'FLOPs':<42}{'a token':>12}{'the run':>12}{'pfs-days':>12}"]
    for name, update in zip(conventions, flops_of_update(config, shape), strict=True):
        token, run = update / (config.batch_size * config.seq_length), update * config.num_train_steps
        lines.append(f"  {name:<40}{token:>12.4g}{run:>12.3e}{pfs_days(run):>12.4g}")
    return lines


def time_lines(run: PretrainRun | None) -> list[str]:
    """Return lines with the hours of the run at its median speed, and petaflop/s-days by Mercier's rule."""
    speeds = [r["tokens_per_second"] for r in run.training if r.get("tokens_per_second")] if run else []
    if run is None or not speeds:
        return [f"hours     {NOT_MEASURED}: give --run a folder that measured its speed"]
    config, speed = run.config, float(np.median(speeds))
    hours = config.num_train_steps * config.batch_size * config.seq_length / speed / 3600
    lines = [f"hours     {hours:,.2f} at {speed:,.0f} tokens/s"]
    if (tflops := device_tflops(run.device)) is None:
        return [*lines, f"hardware  {NOT_MEASURED}: no nominal speed of {run.device} known"]
    cost = hardware_pfs_days(hours / 24, run.num_devices, tflops)
    rule = f"{hours / 24:.4g} days x {run.num_devices} x {tflops:g} TFLOP/s x {UTILIZATION}"
    return [*lines, f"hardware  {cost:.4g} pfs-days by Mercier's rule: {rule}"]


def memory_line(run: PretrainRun | None) -> str:
    """Return a line with the peak memory of one device, measured by the run."""
    peak = max((record.get("peak_memory_bytes") or 0 for record in run.training), default=0) if run else 0
    if run is None or not peak:
        return f"memory    {NOT_MEASURED}: give --run a folder that measured it"
    share = run.config.batch_size // run.num_devices
    rows = min(run.config.micro_batch_size or share, share)
    return f"memory    peak {peak / 1e9:.2f} GB with {rows} rows at a time on {run.device}"


def main(argv: Sequence[str]) -> None:
    """Run `python -m electra cost`."""
    parser = cli.Parser("python -m electra cost", description="Print what a model and its training cost.")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--size", choices=SIZES, default="small", help="recipe of this size (default small)")
    model.add_argument("--run", type=Path, help="settings, speed and memory of this run folder")
    asked = parser.parse_args(argv)
    runs, _, notes = read_inputs([asked.run]) if asked.run else ([], [], [])
    if asked.run and len(runs) != 1:
        found = "; ".join([f"{len(runs)}", *notes])
        raise ValueError(f"--run: expected one run in {asked.run}, found {found}; name one run folder")
    run = runs[0] if runs else None
    for note in notes:
        print(f"note: {cli.printable(note)}", file=sys.stderr)
    config = run.config if run else cli.build(PretrainConfig, SIZES[asked.size], {"size": asked.size})
    vocab = {"vocab_size": DEMO_VOCAB_SIZE} if asked.size == "demo" else {}
    shape = run.shape if run else cli.build(EncoderConfig, SIZES[asked.size], vocab)
    name = f"{run.name} on {run.num_devices} {run.device}" if run else asked.size
    tokens = config.num_train_steps * config.batch_size * config.seq_length
    print(
        f"{name}: objective {config.objective}, generator {100 * config.generator_size:g} %, "
        f"{config.num_train_steps:,} updates of {config.batch_size} rows x {config.seq_length} = {tokens:,} tokens"
    )
    print("\n".join([block_table(config, shape), *flops_lines(config, shape), *time_lines(run), memory_line(run)]))
