"""Pre-training speed beside a plain `transformers` pair, what each idea gives, and how cost grows.

    python -m tests.benchmarks.bench_pretrain --data owt_shards/ [PART ...] [--device cuda] [--out record.json]

Parts: peer, losses, ideas, profile, memory, growth, startup, flat (default: all but flat, which takes longest; on CUDA
peer, profile and memory: speed and MFU of every way to launch an update, what takes the time, bytes). `--flags` adds
flags of `train_pretrain.py`: with "--size demo" every part is quick. DATA is a shard folder with 30,522 words, as
`python -m electra prepare` makes it. Ours is the loop of `train_pretrain.py`; the peer is `ElectraForMaskedLM` and
`ElectraForPreTraining`, tied, with SDPA attention, fused AdamW and clipping, from the same weights, fed the same masked
rows. Contenders take turns of a few updates in one process, so that other load on the machine hits all; printed are
medians over the turns with their range, and ratios as medians of the ratios within a turn. Processor seconds are of all
threads together. MFU is the matrix-product FLOPs of an update (`efficiency.update_flops`) over the matrix rate measured
in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import gc
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import electra.model.networks
import electra.model.transformer
import electra.pretrain.objective
import electra.training.devices
import train_pretrain
from electra.config import EncoderConfig, PretrainConfig
from electra.data.shards import MANIFEST
from electra.hub.names import CONFIG_NAMES, to_theirs
from electra.model.flops import update_flops
from electra.pretrain.masking import Batch, count_targets
from electra.pretrain.run import open_run
from electra.training.devices import autocast, keep_freed_memory, peak_memory_bytes, resolve_precision
from electra.training.log import provenance
from electra.training.ranks import Ranks

PARTS = ("peer", "losses", "ideas", "profile", "memory", "growth", "startup", "flat")
DEFAULT_PARTS = {"cpu": PARTS[:-1], "cuda": ("peer", "profile", "memory")}


def settings(asked: argparse.Namespace, *flags: str) -> tuple[PretrainConfig, EncoderConfig]:
    """What `train_pretrain.py` makes of these flags."""
    argv = ["--data", str(asked.data), "--run-dir", tempfile.gettempdir(), "--batch-size", str(asked.batch_size)]
    argv += ["--num-warmup-steps", "100"]  # so that a few updates move the losses
    config, shape, _ = train_pretrain.parse([*argv, "--precision", asked.precision, *asked.flags.split(), *flags])
    return config, shape


class Ours:
    """The updates of `train_pretrain.py`, batches included."""

    def __init__(self, config: PretrainConfig, shape: EncoderConfig, device: torch.device, num_updates: int) -> None:
        self.config = dataclasses.replace(config, stop_after=num_updates)
        self.ranks = Ranks(0, 1, device)
        with tempfile.TemporaryDirectory() as folder:
            self.config = dataclasses.replace(self.config, run_dir=folder)
            self.run = open_run(self.config, shape, self.ranks)
        self.shape = dataclasses.replace(shape, vocab_size=self.run.tokenizer.vocab_size)
        self.updates = train_pretrain.updates(self.run, self.ranks)
        self.losses: list[tuple[Tensor, Tensor]] = []

    def update(self) -> None:
        self.losses.append(tuple(next(self.updates).losses[1:]))

    def flops(self) -> int:
        num_targets = count_targets(self.config.seq_length, self.config.mask_prob)
        length, rows = self.config.seq_length, self.config.batch_size
        return update_flops(self.shape, self.config.generator_size, length, num_targets, rows, self.config.objective)


class Peer:
    """The plain pair; its rows are masked beforehand and cost it nothing."""

    def __init__(self, ours: Ours, is_compiled: bool = False) -> None:
        import transformers

        config, shape, device = ours.config, ours.shape, ours.ranks.device
        model = ours.run.state.model

        def build(kind: str, part: str, part_shape: EncoderConfig) -> Any:
            names = {theirs: getattr(part_shape, name) for name, theirs in CONFIG_NAMES.items()}
            made = getattr(transformers, kind)(transformers.ElectraConfig(attn_implementation="sdpa", **names))
            made.load_state_dict(to_theirs(part, getattr(model, part).state_dict()), strict=True)
            return made.to(device).train()

        self.discriminator: Any = build("ElectraForPreTraining", "discriminator", shape)
        self.generator: Any = build("ElectraForMaskedLM", "generator", shape.generator(config.generator_size))
        self.generator.electra.embeddings = self.discriminator.electra.embeddings
        self.generator.generator_lm_head.weight = self.discriminator.electra.embeddings.word_embeddings.weight
        pair = nn.ModuleList([self.discriminator, self.generator])
        self.parameters = list(pair.parameters())
        num_ours = sum(parameter.numel() for parameter in model.parameters())
        assert sum(parameter.numel() for parameter in self.parameters) == num_ours, "the peer is another model"
        self.optimizer = torch.optim.AdamW(self.parameters, lr=0.0, eps=1e-6, weight_decay=0.01, fused=True)
        self.schedule = transformers.get_linear_schedule_with_warmup(
            self.optimizer, config.num_warmup_steps, config.num_train_steps
        )
        self.optimizer.param_groups[0]["initial_lr"] = config.learning_rate
        self.schedule.base_lrs = [config.learning_rate]
        self.config, self.device, self.dtype = config, device, resolve_precision(config.precision, device)
        if is_compiled:
            self.discriminator, self.generator = torch.compile(self.discriminator), torch.compile(self.generator)
        self.batches = iter([batch for _, batch in zip(range(config.stop_after), ours_again(ours), strict=False)])
        self.losses: list[tuple[Tensor, Tensor]] = []

    def update(self) -> None:
        batch = next(self.batches).rows(0, self.config.batch_size, self.device)
        originals = batch.input_ids.gather(1, batch.positions).masked_fill(~batch.is_target, -100)
        labels = torch.full_like(batch.input_ids, -100).scatter(1, batch.positions, originals)
        is_target = labels != -100
        with autocast(self.device, self.dtype):
            generated = self.generator(batch.masked_ids, batch.attention_mask, labels=labels)
            with torch.no_grad():
                chances = generated.logits[is_target].float().softmax(-1)
                sampled = torch.multinomial(chances, 1).squeeze(-1)
            corrupted = batch.input_ids.masked_scatter(is_target, sampled)
            is_replaced = (corrupted != batch.input_ids).long()
            detected = self.discriminator(corrupted, batch.attention_mask, labels=is_replaced)
            loss = generated.loss + 50.0 * detected.loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.losses.append((generated.loss.detach(), detected.loss.detach()))


def ours_again(ours: Ours) -> Iterator[Batch]:
    """The batches of the run from its start, on their own."""
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(dataclasses.replace(ours.config, run_dir=folder), ours.shape, ours.ranks)
        yield from run.batches


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    contenders: dict[str, Callable[[], None]], turns: int, updates: int, device: torch.device
) -> dict[str, dict[str, list[float]]]:
    """Wall and processor seconds an update of each contender in each turn; a turn beforehand warms up."""
    spent: dict[str, dict[str, list[float]]] = {name: {"wall": [], "processor": []} for name in contenders}
    for turn in range(turns + 1):
        order = list(contenders.items())
        for name, update in order if turn % 2 else reversed(order):
            wait(device)
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(updates):
                update()
            wait(device)
            if turn:
                spent[name]["wall"].append((time.perf_counter() - wall) / updates)
                spent[name]["processor"].append((time.process_time() - processor) / updates)
    return spent


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def ratios(slower: dict[str, list[float]], faster: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """How many times the time of `faster` the other takes, turn by turn, on both clocks."""
    return {
        clock: spread([a / b for a, b in zip(slower[clock], faster[clock], strict=True)])
        for clock in ("wall", "processor")
    }


def shown(figures: dict[str, float], form: str = ".2f") -> str:
    return f"{figures['median']:{form}} ({figures['min']:{form}} to {figures['max']:{form}}, n = {figures['n']:.0f})"


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a 4,096-wide matrix product, the best of 5 (of 5 times ten products on CUDA)."""
    a, repeats = torch.randn(4096, 4096, device=device).to(dtype), 10 if device.type == "cuda" else 1
    best = 0.0
    for _ in range(5):
        wait(device)
        began = time.perf_counter()
        for _ in range(repeats):
            a @ a
        wait(device)
        best = max(best, repeats * 2 * 4096**3 / (time.perf_counter() - began))
    return best


LAUNCHES = {
    "plain": "--compile off --no-cuda-graph",
    "compiled": "--compile on --no-cuda-graph",
    "recorded": "--compile off",
}
"""Ways to launch an update, beside the default."""


def part_peer(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Ours and the peer in turns; with `--launches` also every way to launch ours, and the compiled peer."""
    total = (asked.turns + 1) * asked.updates
    ours = Ours(*settings(asked), device, total)
    contenders = {"ours": ours.update, "peer": Peer(ours).update}
    if asked.launches or device.type == "cuda":
        contenders["peer, compiled"] = Peer(ours, is_compiled=True).update
        for name, flags in LAUNCHES.items():
            contenders[f"ours, {name}"] = Ours(*settings(asked, *flags.split()), device, total).update
    rate = matrix_rate(device, resolve_precision(asked.precision, device))
    spent = take_turns(contenders, asked.turns, asked.updates, device)
    tokens = asked.batch_size * ours.config.seq_length
    record: dict[str, Any] = {"matrix_rate_flops": rate, "update_flops": ours.flops(), "updates": total}
    for name, seconds in spent.items():
        record[name] = {"tokens_per_second": spread([tokens / s for s in seconds["wall"]])}
        print(f"  {name}: {shown(record[name]['tokens_per_second'], ',.0f')} tokens/s")
    for name in [name for name in spent if name != "ours"]:
        record[name]["ratio"] = found = ratios(spent[name], spent["ours"])
        print(f"  time of {name} over ours: {shown(found['wall'])}; in processor time {shown(found['processor'])}")
    for name in [name for name in spent if "ours" in name]:
        record[name]["mfu"] = ours.flops() / min(spent[name]["wall"]) / rate
        print(f"  MFU of {name}: {record[name]['mfu']:.1%} of {rate / 1e9:,.0f} GFLOP/s")
    if device.type == "cuda":
        print(f"  peak memory of all together {torch.cuda.max_memory_reserved() / 2**30:.2f} GiB")
    return record


def part_losses(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Both losses of both sides over the same 50 updates of 4 rows, without dropout, so that only samples differ.

    The updates of one run are not independent: once two runs have parted they stay apart. So the noise of a difference
    is taken over runs, each with its own data and start.
    """
    small = argparse.Namespace(**{**vars(asked), "batch_size": 4})
    flags = ("--hidden-dropout-prob", "0", "--attention-dropout-prob", "0")
    seeds = range(asked.first_seed, asked.first_seed + asked.runs)
    apart = np.array([losses_apart(*settings(small, *flags, "--seed", str(seed)), device) for seed in seeds])
    mean, error = apart.mean(0), apart.std(0, ddof=1) / len(apart) ** 0.5
    for name, value, noise in zip(("masked_lm_loss", "disc_loss"), mean, error, strict=True):
        print(f"  {name}: ours minus peer {value:+.4f} +- {noise:.4f} (standard error, n = {len(apart)} runs)")
    return {"apart": apart.tolist(), "mean": mean.tolist(), "standard_error": error.tolist()}


def losses_apart(config: PretrainConfig, shape: EncoderConfig, device: torch.device) -> np.ndarray:
    """Ours minus the peer's, means over the last 25 of 50 updates: (masked LM, replaced token)."""
    ours = Ours(config, shape, device, 50)
    peer = Peer(ours)
    for _ in range(50):
        ours.update()
        peer.update()
    mine, theirs = (torch.tensor(side.losses)[25:].mean(0) for side in (ours, peer))
    print(f"  seed {config.seed}: ours {mine.tolist()}, peer {theirs.tolist()}", flush=True)
    return (mine - theirs).numpy()


def gumbel(probs: Tensor, uniforms: Tensor) -> Tensor:
    """The release's draw: the largest of logits plus Gumbel noise, V uniforms a target."""
    noise = -torch.log(-torch.log(torch.rand_like(probs) + 1e-9) + 1e-9)
    return (probs.log() + noise).argmax(-1)


def three_products(self: Any, hidden: Tensor, key_mask: Tensor | None) -> Tensor:
    B, L, D = hidden.shape
    parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
    query, key, value = (F.linear(hidden, w, b).view(B, L, self.num_heads, -1).transpose(1, 2) for w, b in parts)
    mixed = electra.model.transformer.attend(query, key, value, key_mask, self.dropout if self.training else 0.0)
    return self.out(mixed.transpose(1, 2).reshape(B, L, D))


def plain_attention(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, dropout: float) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=key_mask, dropout_p=dropout)


@contextlib.contextmanager
def freed_memory_returned() -> Iterator[None]:
    """glibc as it comes: blocks of 32 MiB and more go back to the kernel."""
    defaults = ((electra.training.devices.M_MMAP_THRESHOLD, 2**25), (electra.training.devices.M_TRIM_THRESHOLD, 2**26),
                (electra.training.devices.M_TOP_PAD, 2**17))  # fmt: skip
    libc = ctypes.CDLL(None)
    for option, value in defaults:
        libc.mallopt(option, value)
    yield
    keep_freed_memory()


@contextlib.contextmanager
def plain_dropout() -> Iterator[None]:
    """torch's own dropout, in all three places where there is one."""
    with mock.patch("electra.model.transformer.drop", F.dropout):
        yield


class PlainAdamW(torch.optim.AdamW):
    """Parameter by parameter; it knows no flag to skip an update by."""

    found_inf = property(lambda self: None, lambda self, skipped: None)


IDEAS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "16 bits a dropout decision": plain_dropout,
    "attention written out": lambda: mock.patch("electra.model.transformer.attend", plain_attention),
    "freed memory kept": freed_memory_returned,
    "one uniform a target (inverse CDF)": lambda: mock.patch("electra.pretrain.objective.sample_replacements", gumbel),
    "one query-key-value product": lambda: mock.patch(
        "electra.model.transformer.SelfAttention.forward", three_products
    ),
    "logits of 256 targets at a time": lambda: mock.patch("electra.pretrain.objective.TARGETS_AT_A_TIME", 1 << 30),
}
"""Each idea by name, and how to do without it."""


def part_ideas(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Each idea taken away alone: how much longer an update takes without it."""
    config, shape = settings(asked)
    total = (asked.turns + 1) * asked.updates

    def compare(idea: str, other: Callable[[], None]) -> dict[str, Any]:
        ours = Ours(config, shape, device, total)
        spent = take_turns({"ours": ours.update, "without": other}, asked.turns, asked.updates, device)
        found = ratios(spent["without"], spent["ours"])
        print(f"  without '{idea}': {shown(found['wall'])} x; processor {shown(found['processor'])} x", flush=True)
        return found

    record = {}
    for idea, without in IDEAS.items():
        other = Ours(config, shape, device, total)

        def update(other: Ours = other, without: Any = without) -> None:
            with without():
                other.update()

        record[idea] = compare(idea, update)
    plain = Ours(config, shape, device, total)
    groups = [{**group, "fused": False, "foreach": False} for group in plain.run.state.optimizer.param_groups]
    plain.run.state.optimizer = PlainAdamW(groups)
    record["fused AdamW"] = compare("fused AdamW", plain.update)
    fp32 = Ours(dataclasses.replace(config, precision="fp32"), shape, device, total)
    record["bf16"] = compare("bf16 matrix products", fp32.update)
    return record


def part_profile(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Where the time of an update goes, by operator."""
    from torch.profiler import ProfilerActivity, profile

    num_warm_ups = 10 if device.type == "cuda" else 2
    ours = Ours(*settings(asked), device, num_warm_ups + 3)
    for _ in range(num_warm_ups):
        ours.update()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for _ in range(3):
            ours.update()
        wait(device)
    field = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=field, row_limit=10, max_name_column_width=45))
    times = {event.key: getattr(event, field) / 3000 for event in profiler.key_averages()}
    return {"milliseconds_per_update": dict(sorted(times.items(), key=lambda item: -item[1])[:25])}


def in_child(asked: argparse.Namespace, *flags: str) -> dict[str, float]:
    """A few updates in a process of their own: its peak memory and speed."""
    module = "tests.benchmarks.bench_pretrain"
    command = [sys.executable, "-m", module, "--data", str(asked.data), "--device", asked.device]
    command += ["--precision", asked.precision, "--updates", str(asked.updates), f"--child={' '.join(flags)}"]
    command += [f"--flags={asked.flags}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().split("\n")[-1])


def child(asked: argparse.Namespace, device: torch.device) -> None:
    """What `in_child` runs."""
    before = peak_memory_bytes(device)
    num_warm_ups = 10 if device.type == "cuda" else 1  # recordings of both shapes, with padding and without
    ours = Ours(*settings(asked, *asked.child.split()), device, asked.updates + num_warm_ups)
    for _ in range(num_warm_ups):
        ours.update()
    wait(device)
    began = time.perf_counter()
    for _ in range(asked.updates):
        ours.update()
    wait(device)
    tokens = asked.updates * ours.config.batch_size * ours.config.seq_length
    figures = {"tokens_per_second": tokens / (time.perf_counter() - began)}
    print(json.dumps({**figures, "peak_bytes": peak_memory_bytes(device), "bytes_before": before}))


def part_memory(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Peak memory of 128 rows, whole and in micro-batches; Mercier (section 3.5): 16 GB whole, 11 GB in halves."""
    record = {}
    for size in (128, 64) if device.type == "cuda" else (128, 64, 32, 16):
        record[str(size)] = found = in_child(asked, "--batch-size", "128", "--micro-batch-size", str(size))
        print(f"  micro-batch {size}: peak {found['peak_bytes'] / 2**30:.2f} GiB, {found['bytes_before'] / 2**30:.2f} "
              "of it before the first update")  # fmt: skip
    return record


def part_growth(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Tokens a second over batch, length and size."""
    record = {}
    for flags in ("--batch-size 8", "--batch-size 32", "--batch-size 128", "--batch-size 16 --seq-length 256",
                  "--batch-size 8 --seq-length 512", "--size mini --batch-size 32"):  # fmt: skip
        record[flags] = found = in_child(asked, *flags.split())
        print(f"  {flags}: {found['tokens_per_second']:,.0f} tokens/s")
    return record


STARTUP = """import sys, torch, train_pretrain
from electra.pretrain.run import open_run
from electra.training.ranks import Ranks
config, shape, _ = train_pretrain.parse(sys.argv[1:])
next(open_run(config, shape, Ranks(0, 1, torch.device("cpu"))).batches)"""


def part_startup(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Seconds of a fresh process from its start to the first batch out of 20 GB of (sparse) shards, and of imports."""
    from tests.benchmarks.bench_tokenizer import write_sparse_shards

    def seconds(script: str, *flags: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", script, *flags], check=True)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "sparse"
        write_sparse_shards(data)
        given, manifest = (json.loads((place / MANIFEST).read_text()) for place in (asked.data, data))
        for name in [path.name for path in asked.data.iterdir() if path.name.startswith("held-out")] + [
            "tokenizer.json"
        ]:
            shutil.copy(asked.data / name, data)
        splits = {"train": manifest["splits"]["train"], "held-out": given["splits"]["held-out"]}
        (data / MANIFEST).write_text(json.dumps({**given, "splits": splits}))
        record = {
            "seconds": spread([seconds(STARTUP, "--data", str(data), "--run-dir", f"{folder}/{n}") for n in range(5)]),
            "imports": spread([seconds("import train_pretrain") for _ in range(5)]),
        }
    print(
        f"  20 GB of shards: first batch after {shown(record['seconds'])} s; imports alone {shown(record['imports'])} s"
    )
    return record


def part_flat(asked: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Processor time of an update over 10,000 updates of the size `tiny`, a median for each tenth."""
    config, shape = settings(
        asked, "--size", "demo", "--batch-size", "8", "--num-threads", "1", "--num-train-steps", "10000"
    )
    ours = Ours(config, shape, device, 10_000)
    times = []
    gc.collect()
    for _ in range(10_000):
        began = time.process_time()
        ours.update()
        times.append(time.process_time() - began)
        ours.losses.clear()
    tenths = [statistics.median(times[start : start + 1_000]) for start in range(0, 10_000, 1_000)]
    print(f"  medians of each 1,000 updates: {', '.join(f'{seconds * 1e3:.2f}' for seconds in tenths)} ms")
    return {"median_seconds": tenths, "ratio": tenths[-1] / tenths[0]}


def main() -> None:
    """Run the parts asked for, print each, and write one JSON record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--data", type=Path, required=True, help="shard folder")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--updates", type=int, default=3, help="of each contender in a turn (default 3)")
    parser.add_argument("--flags", default="", help="of train_pretrain.py, for every run")
    parser.add_argument("--launches", action="store_true", help="part peer: every way to launch an update")
    parser.add_argument("--runs", type=int, default=5, help="of part losses (default 5)")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="of part losses; the runs count up from it (default 0)"
    )
    parser.add_argument("--out", type=Path, help="file for the JSON record")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    keep_freed_memory()
    if asked.child is not None:
        return child(asked, device)
    record: dict[str, Any] = {"provenance": provenance(sys.argv, device), "precision": asked.precision}
    record["batch"] = [asked.batch_size, 128]
    for part in asked.parts or DEFAULT_PARTS[asked.device]:
        print(f"{part}, {asked.precision}, {asked.device}, {torch.get_num_threads()} threads:", flush=True)
        record[part] = globals()[f"part_{part}"](asked, device)
    if asked.out:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
