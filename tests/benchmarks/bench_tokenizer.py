"""The tokenizer and the data pipeline against their peers, side by side on this machine.

    python -m tests.benchmarks.bench_tokenizer DIR [PART ...] [--files 82] [--repeats 3] [--json FILE]

Needs `pip install '.[oracle]' tiktoken`. DIR holds OpenWebText's extracted `*_data.xz`; 82 files of the test corpus
are 190 MB. Parts: train, encode, pipeline, long, memory, windows (default: all). Peers: the `tokenizers` library and
tiktoken, each given two threads where ours gets two processes. Contenders take turns and start cold: fresh processes,
fresh objects. Printed are medians over the turns with their range, and ratios as medians of the ratios within a turn,
so that other load on the machine hits both sides. CPU seconds are of all threads and processes together. All numbers
and where they come from go to FILE.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from electra.data import corpus, shards
from electra.data.learn import learn_tokenizer
from electra.data.prepare import PrepareConfig, prepare
from electra.data.windows import WindowSampler
from electra.data.workers import run_tasks
from electra.files import sha256_file, write_json
from electra.ids import ID_DTYPE, Ids, SpecialIds
from electra.tokenizer import bpe
from electra.tokenizer.byte_level import SPECIAL_TOKENS, Tokenizer, group_texts

VOCAB_SIZE = 30_522
NUM_WORKERS = 2
OPENWEBTEXT_BYTES = 39_769_494_896
PARTS = ("train", "encode", "pipeline", "long", "memory", "windows")

Record = dict[str, Any]  # what goes to the JSON file


def cpu_seconds() -> float:
    """Of this process, its threads and its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(contenders: dict[str, Callable[[], Any]], repeats: int, megabytes: float) -> tuple[Record, dict[str, Any]]:
    """Time contenders in turns; print seconds, MB/s, and how the first compares with each other one.

    Returns:
        The times, and what each contender returned in the last turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, run in contenders.items():
            results.pop(name, None)
            started, cpu_started = time.perf_counter(), cpu_seconds()
            results[name] = run()
            seconds[name].append(time.perf_counter() - started)
            cpu[name].append(cpu_seconds() - cpu_started)
    ours = next(iter(contenders))
    for name in contenders:
        median = statistics.median(seconds[name])
        line = f"  {name:<38}{median:8.2f} s {_range(seconds[name])} {megabytes / median:7.1f} MB/s "
        line += f"{statistics.median(cpu[name]):8.2f} CPU s"
        if name != ours:
            line += f"   ours: {_ratio(seconds[name], seconds[ours])} as fast, CPU {_ratio(cpu[name], cpu[ours])}"
        print(f"{line}, n = {repeats}", flush=True)
    return {"megabytes": megabytes, "seconds": seconds, "cpu_seconds": cpu}, results


def _range(numbers: Sequence[float]) -> str:
    return f"({min(numbers):.2f} to {max(numbers):.2f})"


def _ratio(theirs: list[float], ours: list[float]) -> str:
    ratios = [other / own for other, own in zip(theirs, ours, strict=True)]
    return f"{statistics.median(ratios):.2f}x {_range(ratios)}"


def read_with_the_standard_library(files: Sequence[Path]) -> Iterator[str]:
    """What the peers' pipeline reads with."""
    for file in files:
        with tarfile.open(file, "r|xz") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content:
                    yield content.read().decode()


# --- ours -------------------------------------------------------------------------------------------------


def ours_train(texts: Sequence[str]) -> Tokenizer:
    """Count in two processes, blocks of about 4 MB each, and merge in this one."""
    lines = (json.dumps({"text": text}) for text in texts)
    data = ("\n".join(group).encode() for group in group_texts(lines, 1 << 22))
    units = [corpus.Unit(f"documents {n}", group, len(group), "jsonl") for n, group in enumerate(data)]
    block_bytes, corpus.BLOCK_BYTES = corpus.BLOCK_BYTES, 1 << 22
    try:
        return learn_tokenizer(
            units,
            corpus.read_unit,
            1.0,
            vocab_size=VOCAB_SIZE,
            min_count=2,
            num_workers=NUM_WORKERS,
            scratch=Path(tempfile.gettempdir()),
        )[0]
    finally:
        corpus.BLOCK_BYTES = block_bytes


class EncodeTexts:
    """A worker that sends back the ids of a group of documents."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.load(path)

    def __call__(self, task: tuple[int, list[str]] | None) -> Iterator[tuple[int, list[Ids]]]:
        if task:
            groups = map(self._tokenizer.encode_documents, group_texts(task[1]))
            yield task[0], [document for documents in groups for document in documents]


def ours_encode(path: Path, texts: Sequence[str]) -> list[Ids]:
    """Encode in two processes and gather the ids here."""
    tasks = enumerate(group_texts(texts, 1 << 22))
    found = dict(run_tasks(functools.partial(EncodeTexts, path), tasks, NUM_WORKERS))
    return [document for n in range(len(found)) for document in found[n]]


def ours_pipeline(folder: Path, out: Path, tokenizer: Path | None) -> dict[str, Any]:
    """Archives to shards; with or without learning the tokenizer first."""
    shutil.rmtree(out, ignore_errors=True)
    config = PrepareConfig(tokenizer=str(tokenizer or ""), vocab_size=VOCAB_SIZE)
    return prepare([folder], out, config, num_workers=NUM_WORKERS)


# --- peers ------------------------------------------------------------------------------------------------


def library_train(texts: Sequence[str]) -> Any:
    """The `tokenizers` library's byte-level BPE trainer."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def library_encode(path: Path, texts: Sequence[str]) -> list[list[int]]:
    """`encode_batch_fast` with our file."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    batches = (tokenizer.encode_batch_fast(group, add_special_tokens=False) for group in group_texts(texts, 1 << 23))
    return [encoding.ids for batch in batches for encoding in batch]


def library_pipeline(files: Sequence[Path], out: Path, path: Path) -> int:
    """Read with the standard library, encode with `encode_batch_fast`, write uint16 arrays."""
    import tokenizers

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    num_tokens = 0
    for n, texts in enumerate(group_texts(read_with_the_standard_library(files), 1 << 23)):
        documents = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        np.save(out / f"{n}.tokens.npy", np.fromiter((i for ids in documents for i in ids), np.uint16))
        np.save(out / f"{n}.ends.npy", np.cumsum(list(map(len, documents))))
        num_tokens += sum(map(len, documents))
    return num_tokens


def tiktoken_encode(path: Path, texts: Sequence[str]) -> list[list[int]]:
    """tiktoken with our tokens, whose numbers it counts from 0."""
    import tiktoken

    tokenizer = Tokenizer.load(path)
    tokens = [tokenizer.decode_bytes([n]) for n in range(bpe.NUM_SPECIAL_TOKENS, tokenizer.vocab_size)]
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    ranks = {token: n for n, token in enumerate(tokens)}
    encoding = tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return encoding.encode_ordinary_batch(list(texts), num_threads=NUM_WORKERS)


# --- parts ------------------------------------------------------------------------------------------------


def bench_train(texts: Sequence[str], repeats: int, megabytes: float, path: Path) -> Record:
    """Training: time, and every merge in order."""
    print(f"train: {VOCAB_SIZE:,} ids from {megabytes:.1f} MB")
    contenders = {"ours": lambda: ours_train(texts), "tokenizers": lambda: library_train(texts)}
    record, results = compare(contenders, repeats, megabytes)
    results["ours"].save(path)
    ours = [tuple(merge.split(" ")) for merge in json.loads(path.read_text())["model"]["merges"]]
    theirs = [tuple(merge) for merge in json.loads(results["tokenizers"].to_str())["model"]["merges"]]
    assert ours == theirs, "merges differ"
    print(f"  all {len(ours):,} merges are equal, in order")
    return record


def bench_encode(texts: Sequence[str], repeats: int, megabytes: float, path: Path) -> Record:
    """Encoding: time, and every id of every document."""
    print(f"encode: {len(texts):,} documents, {megabytes:.1f} MB, {NUM_WORKERS} threads or processes, cold")
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours_encode(path, texts),
        "tokenizers encode_batch_fast": lambda: library_encode(path, texts),
        "tiktoken encode_ordinary_batch": lambda: tiktoken_encode(path, texts),
    }
    record, results = compare(contenders, repeats, megabytes)
    num_ids = 0
    for n, ids in enumerate(results["ours"]):
        assert ids.tolist() == results["tokenizers encode_batch_fast"][n], f"document {n} differs"
        assert (ids - bpe.NUM_SPECIAL_TOKENS).tolist() == results["tiktoken encode_ordinary_batch"][n], n
        num_ids += len(ids)
    print(f"  all {num_ids:,} ids of all documents are equal")
    return record


def bench_pipeline(files: Sequence[Path], repeats: int, megabytes: float, path: Path, work: Path) -> Record:
    """Archives to shards, end to end."""
    print("pipeline: xz archives to token shards")
    source = work / "in"
    source.mkdir()
    for file in files:
        os.symlink(file, source / file.name)
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours_pipeline(source, work / "ours", path),
        "standard library + encode_batch_fast": lambda: library_pipeline(files, work / "theirs", path),
        "ours, learning the tokenizer too": lambda: ours_pipeline(source, work / "both", None),
    }
    record, results = compare(contenders, repeats, megabytes)
    assert results["ours"]["num_tokens"] == results["standard library + encode_batch_fast"]
    encode, both = (statistics.median(record["seconds"][name]) for name in ("ours", "ours, learning the tokenizer too"))
    # learning is taken as growing with the text, up to the sample of 1 GB, and as gaining nothing from more cores
    learn = (both - encode) * 1_000 / megabytes
    for cores in (2, 8, 16):
        hours = (learn + encode * OPENWEBTEXT_BYTES / 1e6 / megabytes * NUM_WORKERS / cores) / 3600
        record[f"projected_hours_on_{cores}_cores"] = hours
        print(f"  projected for OpenWebText, {OPENWEBTEXT_BYTES / 1e9:.1f} GB, on {cores:>2} cores: {hours:.2f} hours")
    return record


def bench_long(path: Path, repeats: int) -> Record:
    """Chunks without an end."""
    print("long: one chunk")
    letters = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=2_000_000))
    texts = {
        "1 MB of random letters": letters[:1_000_000],
        "2 MB of random letters": letters,
        '1 MB of "a"': "a" * 10**6,
    }
    seconds: dict[str, list[float]] = {name: [] for name in texts}
    for _ in range(repeats):
        for name, text in texts.items():
            tokenizer = Tokenizer.load(path)
            started = time.perf_counter()
            tokenizer.encode(text)
            seconds[name].append(time.perf_counter() - started)
    for name, times in seconds.items():
        print(f"  {name:<38}{statistics.median(times):8.2f} s {_range(times)}, n = {repeats}")
    one, two, _ = seconds.values()
    print(f"  twice the letters take {_ratio(two, one)} the time")
    return {"seconds": seconds}


def anonymous_bytes(process: int) -> int:
    """RssAnon of a process and its descendants."""
    total = 0
    try:
        status = Path(f"/proc/{process}/status").read_text()
        total += 1024 * int(
            next((line for line in status.splitlines() if line.startswith("RssAnon")), "x 0 kB").split()[1]
        )
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                total += anonymous_bytes(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended meanwhile
    return total


def peak_of_prepare(arguments: Sequence[str | Path], out: Path) -> int:
    """Run the command and watch it; returns the peak of RssAnon, summed over its processes."""
    command = [sys.executable, "-m", "electra", "prepare", *map(str, arguments), "--out", str(out), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0
    shutil.rmtree(out)
    return peak


def write_random_words(path: Path, megabytes: int) -> Path:
    """Words of seven random letters: nearly every one is a chunk of its own, the worst text there is."""
    draws = np.random.default_rng(0)
    with open(path, "wb") as file:
        for _ in range(200 * megabytes):
            letters = draws.integers(ord("a"), ord("z") + 1, 5_000, dtype=np.uint8)
            letters[7::8] = ord(" ")
            file.write(letters.tobytes() + b"|")
    return path


def bench_memory(data: Path, work: Path) -> Record:
    """Peak anonymous memory of the whole command as the text doubles: below the caps, at one, at the other."""
    print("memory: peak of RssAnon, summed over processes, of python -m electra prepare")
    files = sorted(data.glob("*_data.xz"))
    sources: dict[str, Path] = {}
    for name, chosen in (("half", files[::2]), ("all", files), ("all twice", [*files, *files])):
        sources[name] = work / f"memory-{name}"
        sources[name].mkdir()
        for n, file in enumerate(chosen):
            shutil.copy(file, sources[name] / f"{n}-{file.name}")  # a link to what is read already would be left out
    cases: dict[str, list[str | Path]] = {name: [sources[name]] for name in ("half", "all")}
    for name, source in sources.items():
        cases[f"{name}, --sample-bytes 100000000"] = [source, "--sample-bytes", "100000000"]
    for size in (25, 50):
        words = write_random_words(work / f"{size}.txt", size)
        cases[f"{size} MB of random words"] = [words, "--document-separator", "|"]
    peaks = {}
    for name, arguments in cases.items():
        peaks[name] = peak_of_prepare(arguments, work / "out")
        print(f"  {name:<38}{peaks[name] / 1e9:8.2f} GB", flush=True)
    return {"peak_bytes": peaks}


def write_sparse_shards(folder: Path) -> int:
    """A shard folder of 20 GB of zeros that take no room; returns how many files it has."""
    num_shards, num_documents = 1_200, 6_700
    folder.mkdir()
    ends = np.linspace(0, 20e9 / 2 / num_shards, num_documents + 1).astype("<i8")[1:]
    records = []
    for n in range(num_shards):
        record = {"name": f"train-{n:05d}", "num_documents": num_documents, "num_tokens": int(ends[-1])}
        np.lib.format.open_memmap(folder / f"{record['name']}.tokens.npy", "w+", ID_DTYPE, (int(ends[-1]),))
        np.save(folder / f"{record['name']}.ends.npy", ends)
        ends_sha256 = sha256_file(folder / f"{record['name']}.ends.npy")
        records.append({**record, "tokens_sha256": "", "ends_sha256": ends_sha256})
    write_json(folder / "tokenizer.json", {})
    manifest = {
        **{"format": shards.FORMAT, "version": shards.VERSION, "sources": [], "settings": {}, "skipped": {}},
        **{"num_documents": 0, "num_tokens": 0, "text_bytes": 0, "vocab_size": 5, "tokenizer_report": {}},
        **{"tokenizer_fingerprint": "", "tokenizer_file": "tokenizer.json"},
        "tokenizer_sha256": sha256_file(folder / "tokenizer.json"),
        "splits": {"train": records, "held-out": []},
    }
    write_json(folder / shards.MANIFEST, manifest)
    return 2 * num_shards


def bench_windows(work: Path, repeats: int) -> Record:
    """20 GB of sparse shards: opening them, and drawing batches of 128 rows of 128 ids."""
    num_files, num_batches = write_sparse_shards(work / "sparse"), 200
    print(f"windows: 20 GB of sparse shards in {num_files:,} files, 128 x 128 ids a batch")
    seconds: list[float] = []
    rates: dict[str, list[float]] = {"documents": [], "tokens": []}
    for repeat in range(repeats):
        started = time.perf_counter()
        train = shards.open_shards(work / "sparse")
        seconds.append(time.perf_counter() - started)
        for sampling in rates:
            sampler = WindowSampler(
                train,
                special_ids=SpecialIds(0, 1, 2, 3),
                batch_size=128,
                seq_length=128,
                seed=repeat,
                sampling=sampling,
            )
            started = time.perf_counter()
            for step in range(num_batches):
                sampler.sample(step)
            rates[sampling].append(num_batches / (time.perf_counter() - started))
    print(f"  {'opening':<38}{statistics.median(seconds):8.2f} s {_range(seconds)}, n = {repeats}")
    for sampling, found in rates.items():
        print(f"  {sampling:<38}{statistics.median(found):8.0f} batches/s {_range(found)}, n = {repeats}")
    return {"seconds_to_open": seconds, "batches_per_second": rates}


def where_from() -> Record:
    """Commit, command, versions and hardware."""
    import torch

    from electra.training.log import provenance

    found: Record = {**provenance(sys.argv, torch.device("cpu")), "cores": os.cpu_count(), "load": os.getloadavg()}
    peers = filter(importlib.util.find_spec, ("regex", "tokenizers", "tiktoken"))
    return found | {name: metadata.version(name) for name in peers}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the parts asked for."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="*", default=PARTS, choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--files", type=int, default=82)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    args = parser.parse_args(argv)
    os.environ.setdefault("RAYON_NUM_THREADS", str(NUM_WORKERS))
    files = sorted(args.data.glob("*_data.xz"))[: args.files]
    record: Record = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        texts = list(read_with_the_standard_library(files))
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        path = work / "tokenizer.json"
        if "train" in args.parts:
            record["train"] = bench_train(texts, args.repeats, megabytes, path)
        elif {"encode", "pipeline", "long"} & {*args.parts}:
            ours_train(texts).save(path)
        if "encode" in args.parts:
            record["encode"] = bench_encode(texts, args.repeats, megabytes, path)
        del texts
        if "pipeline" in args.parts:
            record["pipeline"] = bench_pipeline(files, args.repeats, megabytes, path, work)
        if "long" in args.parts:
            record["long"] = bench_long(path, args.repeats)
        if "memory" in args.parts:
            record["memory"] = bench_memory(args.data, work)
        if "windows" in args.parts:
            record["windows"] = bench_windows(work, args.repeats)
    if args.json:
        write_json(args.json, {"provenance": where_from(), **record})


if __name__ == "__main__":
    main()
