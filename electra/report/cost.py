"""What a model and its training cost: `python -m electra cost`; counted from shapes, measured here or in a run."""

from __future__ import annotations

import argparse
import dataclasses
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from electra import cli
from electra.config import DEMO_VOCAB_SIZE, SIZES, EncoderConfig, PretrainConfig
from electra.model.flops import (
    UTILIZATION,
    device_tflops,
    hardware_pfs_days,
    parameter_blocks,
    pfs_days,
    release_update_flops,
    update_flops,
)
from electra.model.networks import Discriminator, make_embeddings
from electra.pretrain.masking import count_targets
from electra.report.runs import PretrainRun, read_inputs
from electra.scores.tables import NOT_MEASURED

SETTINGS = ("size", "objective", "generator_size", "mask_prob", "num_train_steps", "batch_size", "seq_length")
MEMORY_BUDGETS_GB = (6, 11, 16, 24)
"""The cards that Mercier trained on or planned for. Source: section 3.5."""
NUM_LATENCIES = 20


class Rate(NamedTuple):
    """How fast training goes, and on what."""

    tokens_per_second: float
    source: str  # "given", or the run and its device
    num_devices: int
    tflops: float | None  # nominal 10^12 FLOP/s of one device


def flops_table(config: PretrainConfig, shape: EncoderConfig) -> str:
    """FLOPs of a token and of the run by each convention, and the run's petaflop/s-days."""
    size, length, batch, objective = config.generator_size, config.seq_length, config.batch_size, config.objective
    targets = count_targets(length, config.mask_prob)
    conventions = {
        "the release's count": release_update_flops(shape, size, length, batch, objective),
        "the same, look-ups free": release_update_flops(shape, size, length, batch, objective, dense_lookups=False),
        "matrix products, backward = 2 x forward": update_flops(shape, size, length, targets, batch, objective),
    }
    lines = [f"{'FLOPs':<42}{'a token':>12}{'the run':>12}{'pfs-days':>12}"]
    for name, update in conventions.items():
        run = update * config.num_train_steps
        lines.append(f"  {name:<40}{update / (batch * length):>12.4g}{run:>12.3e}{pfs_days(run):>12.4g}")
    return "\n".join(lines)


def parameter_table(config: PretrainConfig, shape: EncoderConfig) -> str:
    """Parameters by block."""
    blocks = parameter_blocks(shape, config.generator_size, config.objective)
    lines = [f"  {block:<40}{count:>12,}" for block, count in blocks.items()]
    return "\n".join(["parameters", *lines, f"  {'all, shared blocks once':<40}{sum(blocks.values()):>12,}"])


def row_latencies(shape: EncoderConfig, seq_length: int, device: torch.device) -> list[float]:
    """Seconds of the discriminator on one full row, measured `NUM_LATENCIES` times after three that warm up.

    Weights do not change the time, so they are whatever a new model has.
    """
    model = Discriminator(shape, make_embeddings(shape)).to(device).eval()
    ids = torch.zeros((1, seq_length), dtype=torch.int64, device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(NUM_LATENCIES + 3):
            began = time.perf_counter()
            model(ids).sum().item()  # the item waits for the device
            seconds.append(time.perf_counter() - began)
    return seconds[3:]


def latency_line(shape: EncoderConfig, seq_length: int, device: torch.device) -> str:
    """The measured latency, for which Mercier takes the number of parameters as a proxy."""
    low, middle, high = 1000 * np.quantile(row_latencies(shape, seq_length, device), [0, 0.5, 1])
    on_cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_cuda else f"{platform.machine()}, {torch.get_num_threads()} threads"
    return (
        f"latency   one row of {seq_length} tokens, float32, {device.type} ({name}): median {middle:.2f} ms "
        f"({low:.2f} to {high:.2f}, n {NUM_LATENCIES})"
    )


def rate_lines(config: PretrainConfig, rate: Rate | None) -> list[str]:
    """Hours of the run at a rate, and petaflop/s-days by the hardware rule."""
    if rate is None:
        return [
            f"hours     {NOT_MEASURED}: give --tokens-per-second, or --run a folder that measured it",
            f"hardware  {NOT_MEASURED}: the rule needs hours",
        ]
    hours = config.num_train_steps * config.batch_size * config.seq_length / rate.tokens_per_second / 3600
    lines = [f"hours     {hours:,.2f} at {rate.tokens_per_second:,.0f} tokens/s ({rate.source})"]
    if rate.tflops is None:
        return [*lines, f"hardware  {NOT_MEASURED}: no nominal speed of this device known; give --tflops"]
    cost = hardware_pfs_days(hours / 24, rate.num_devices, rate.tflops)
    rule = f"{hours / 24:.4g} days x {rate.num_devices} x {rate.tflops:g} TFLOP/s x {UTILIZATION}"
    return [*lines, f"hardware  {cost:.4g} pfs-days by Mercier's rule: {rule}"]


def memory_line(run: PretrainRun | None) -> str:
    """Mercier's memory budgets beside a measured peak, never beside a computed one."""
    budgets = f"Mercier's budgets: {', '.join(map(str, MEMORY_BUDGETS_GB))} GB"
    if run is None or run.peak_memory_bytes is None:
        return f"memory    peak {NOT_MEASURED}; {budgets}"
    rows = run.config.micro_batch_size or run.config.batch_size // run.num_devices
    fits = [f"{gb} GB" for gb in MEMORY_BUDGETS_GB if run.peak_memory_bytes <= gb * 1e9]
    return (
        f"memory    peak {run.peak_memory_bytes / 1e9:.2f} GB at {rows} rows on {run.device} "
        f"({run.name}), which fits {', '.join(fits) or 'none'}; {budgets}"
    )


def _measured_rate(run: PretrainRun, tflops: float | None) -> Rate | None:
    speed, device = run.median("tokens_per_second"), run.device
    if speed is None:
        return None
    source = f"median of {run.name} on {run.num_devices} {device}"
    return Rate(speed, source, run.num_devices, tflops or device_tflops(device))


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, PretrainConfig, EncoderConfig, PretrainRun | None]:
    """The settings to cost, from flags over a size or from a run folder, and that run."""
    parser = cli.Parser("python -m electra cost", description="What a model and its training cost.")
    parser.add_argument("--run", type=Path, help="take settings, speed and memory from this run folder")
    parser.add_argument("--tokens-per-second", type=float, help="training speed to compute hours with")
    parser.add_argument("--tflops", type=float, help="nominal 10^12 FLOP/s of one device, for the hardware rule")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="to measure the latency on (default cpu)"
    )
    parser.add_argument("--vocab-size", type=int, default=argparse.SUPPRESS, help="words of the tokenizer")
    cli.add_settings(parser, PretrainConfig, "the run", only=SETTINGS)
    cli.add_settings(parser, EncoderConfig, "the discriminator's shape, over --size")
    asked = parser.parse_args(argv)
    names = [f.name for kind in (PretrainConfig, EncoderConfig) for f in dataclasses.fields(kind)]
    given = {name: value for name, value in vars(asked).items() if name in names and name != "device"}
    if asked.run is None:
        size = SIZES[cli.build(PretrainConfig, {k: v for k, v in given.items() if k == "size"}).size]
        vocab = {"vocab_size": DEMO_VOCAB_SIZE} if given.get("size") == "demo" else {}
        warmup = {"num_warmup_steps": 0}  # costs nothing, and any number of updates may be asked for
        return asked, cli.build(PretrainConfig, size, given, warmup), cli.build(EncoderConfig, size, vocab, given), None
    if given:
        raise ValueError(f"--run: expected its own settings alone, found {', '.join(map(cli.flag_name, given))} too; "
                         "drop one of the two")  # fmt: skip
    runs = read_inputs([asked.run]).runs
    if len(runs) != 1:
        raise ValueError(f"--run: expected one run in {asked.run}, found {len(runs)}; name one run folder")
    return asked, runs[0].config, runs[0].shape, runs[0]


def main(argv: Sequence[str]) -> None:
    """`python -m electra cost`."""
    asked, config, shape, run = parse(argv)
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: expected a CUDA device, found none; pass --device cpu")
    for name in ("tokens_per_second", "tflops"):
        if (value := getattr(asked, name)) is not None and not value > 0:
            raise ValueError(
                f"{cli.flag_name(name)}: expected a number above 0, found {value}; leave it out, or measure"
            )
    rate = _measured_rate(run, asked.tflops) if run else None
    if asked.tokens_per_second:
        rate = Rate(asked.tokens_per_second, "given", run.num_devices if run else 1, asked.tflops)
    tokens = config.num_train_steps * config.batch_size * config.seq_length
    what = f"objective {config.objective}, generator {100 * config.generator_size:g} %"
    rows = f"{config.num_train_steps:,} updates of {config.batch_size} rows x {config.seq_length} = {tokens:,} tokens"
    print(f"{run.name if run else config.size}: {what}, {rows}")
    print(parameter_table(config, shape))
    print(flops_table(config, shape))
    print(latency_line(shape, config.seq_length, torch.device(asked.device)))
    print("\n".join([*rate_lines(config, rate), memory_line(run)]))
