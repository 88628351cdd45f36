"""Text to token shards: learn a tokenizer, encode in worker processes, split off held-out documents.

    python -m electra prepare openwebtext.tar.xz --out owt_shards/

The input is cut into blocks of about 32 MiB of text that depend on nothing but the input, and each block becomes
one shard, so the bytes written are the same for any number of workers. A finished block leaves a record in
`.work/`; a command that is run again skips the blocks that have one.

Held-out documents are those whose text has a SHA-256 below 0.5 % of its range: equal documents stay together, and
the split is the same for every tokenizer. If that makes fewer than 50 documents the 50 smallest digests are taken,
if more than 10,000 the 10,000 smallest.
"""

from __future__ import annotations

import argparse
import functools
import gc
import hashlib
import heapq
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from electra import bpe, corpus, shards
from electra.bpe_trainer import MIN_COUNT, count_chunks, learn_merges
from electra.files import FormatError, lock_folder, read_json, sha256_file, write_json
from electra.parallel import run_tasks
from electra.tokenizer import FILE_NAME, Tokenizer, count_merges

HELD_OUT_FRACTION = 0.005
MIN_HELD_OUT, MAX_HELD_OUT = 50, 10_000
SAMPLE_BYTES = 1_000_000_000
VOCAB_SIZE = 30_522
WORK = ".work"
_HELD_OUT_BELOW = int(HELD_OUT_FRACTION * (1 << 64))
_MAX_WORDS = 500_000  # distinct words a counting worker holds before it reduces them to chunks


class Block(NamedTuple):
    """The input of one shard."""

    number: int
    units: list[corpus.Unit]


def cut_blocks(units: Iterable[corpus.Unit]) -> Iterator[Block]:
    """Group consecutive units until they hold about `corpus.BLOCK_BYTES` of text."""
    block: list[corpus.Unit] = []
    number = size = 0
    for unit in units:
        block.append(unit)
        size += unit.size
        if size >= corpus.BLOCK_BYTES:
            yield Block(number, block)
            block, number, size = [], number + 1, 0
    if block:
        yield Block(number, block)


class _CountWords:
    """A counting worker: returns the text bytes it read, and the counts of all its chunks at the end."""

    def __init__(self, read: Callable[..., Iterator[str]], share: float) -> None:
        self._read, self._share = read, share
        self._words: Counter[str] = Counter()
        self._chunks: Counter[str] = Counter()

    def __call__(self, block: Block | None) -> tuple[int, Counter[str]]:
        gc.disable()
        if block is None:
            self._reduce()
            return 0, self._chunks
        size = 0
        for unit in block.units:
            size += self._count(unit)
        return size, Counter()

    def _count(self, unit: corpus.Unit) -> int:
        size, room = 0, self._share * unit.size
        for text in self._read(unit, Counter()):
            if size >= room and self._share < 1:
                break
            self._words.update(bpe.split_words(text))
            size += len(text.encode())
            if len(self._words) > _MAX_WORDS:
                self._reduce()
        return size

    def _reduce(self) -> None:
        count_chunks(self._words, self._chunks)
        self._words.clear()


class _EncodeBlocks:
    """An encoding worker: writes one shard a block, sets the held-out candidates apart, and leaves a record."""

    def __init__(self, read: Callable[..., Iterator[str]], out: Path, min_held_out: int) -> None:
        self._read, self._out, self._min_held_out = read, out, min_held_out
        self._tokenizer = Tokenizer.load(out)

    def __call__(self, block: Block | None) -> dict[str, Any]:
        if block is None:
            return {}
        gc.disable()
        skipped: Counter[str] = Counter()
        encoded: list[bytes] = []
        keys: list[int] = []
        text_bytes = 0
        for unit in block.units:
            for text in self._read(unit, skipped):
                data = text.encode()
                keys.append(int.from_bytes(hashlib.sha256(data).digest()[:8], "big"))
                encoded.append(self._tokenizer.encode_to_bytes(text))
                text_bytes += len(data)
        candidates = {n for n, key in enumerate(keys) if key < _HELD_OUT_BELOW}
        candidates |= set(heapq.nsmallest(self._min_held_out, range(len(keys)), key=keys.__getitem__))
        train = [document for n, document in enumerate(encoded) if n not in candidates]
        aside = [encoded[n] for n in sorted(candidates)]
        record = {
            "shard": shards.write_shard(self._out, f"train-{block.number:05d}", train),
            "aside": shards.write_shard(self._out / WORK, f"aside-{block.number:05d}", aside),
            "keys": [keys[n] for n in sorted(candidates)],
            "skipped": dict(sorted(skipped.items())),
            "text_bytes": text_bytes,
        }
        write_json(self._out / WORK / f"block-{block.number:05d}.json", record)
        gc.collect()
        return record


def prepare(
    sources: Sequence[Path],
    out: Path,
    *,
    vocab_size: int = VOCAB_SIZE,
    min_count: int = MIN_COUNT,
    tokenizer: Path | None = None,
    sample_bytes: int = SAMPLE_BYTES,
    text_field: str = "text",
    document_separator: str | None = None,
    skip_bad_documents: bool = False,
    min_held_out: int = MIN_HELD_OUT,
    num_workers: int | None = None,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Make a shard folder from files and folders of text; see the module's text for what is promised.

    Returns:
        The manifest. A folder that already is what is asked for is left as it is.

    Raises:
        FileNotFoundError, FormatError: a source is missing, damaged or empty; `out` holds something else.
        ValueError: an impossible setting.
    """
    reading = {"text_field": text_field, "document_separator": document_separator, "skip_bad": skip_bad_documents}
    files = [path for source in sources for path in corpus.list_files(source)]
    listing = [[str(path), path.stat().st_size] for path in files]
    settings = {
        "sources": [str(source) for source in sources],
        "num_files": len(files),
        "num_bytes": sum(size for _, size in listing),
        "listing_sha256": hashlib.sha256(repr(listing).encode()).hexdigest(),
        "text_field": text_field,
        "document_separator": document_separator,
        "skip_bad_documents": skip_bad_documents,
    }
    total = sum(corpus.text_size(path) for path in files)
    return _prepare(
        lambda: corpus.list_units(sources, document_separator=document_separator),
        functools.partial(corpus.read_unit, **reading),
        total,
        out,
        settings,
        vocab_size=vocab_size,
        min_count=min_count,
        tokenizer=tokenizer,
        sample_bytes=sample_bytes,
        min_held_out=min_held_out,
        num_workers=num_workers or len(os.sched_getaffinity(0)),
        show_progress=show_progress,
    )


def prepare_documents(
    documents: Iterable[str],
    out: Path,
    *,
    vocab_size: int = VOCAB_SIZE,
    min_count: int = MIN_COUNT,
    min_held_out: int = MIN_HELD_OUT,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Make a shard folder from documents in memory, in this process."""
    texts = tuple(documents)
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    size = sum(map(len, texts))
    settings = {"sources": ["documents in memory"], "num_documents": len(texts), "listing_sha256": digest.hexdigest()}
    unit = corpus.Unit("the documents given", "documents", size, documents=texts)
    return _prepare(
        lambda: iter([unit]),
        corpus.read_unit,
        size,
        out,
        settings,
        vocab_size=vocab_size,
        min_count=min_count,
        tokenizer=None,
        sample_bytes=SAMPLE_BYTES,
        min_held_out=min_held_out,
        num_workers=1,
        show_progress=show_progress,
    )


def _prepare(
    list_units: Callable[[], Iterator[corpus.Unit]],
    read: Callable[..., Iterator[str]],
    total: int,
    out: Path,
    settings: dict[str, Any],
    *,
    vocab_size: int,
    min_count: int,
    tokenizer: Path | None,
    sample_bytes: int,
    min_held_out: int,
    num_workers: int,
    show_progress: bool,
) -> dict[str, Any]:
    if tokenizer is None:
        settings |= {"vocab_size": vocab_size, "min_count": min_count, "sample_bytes": sample_bytes}
        count_merges(vocab_size)  # refuses an impossible size before any work
    else:
        settings |= {"tokenizer": Tokenizer.load(tokenizer).fingerprint}
    settings |= {"min_held_out": min_held_out}
    with lock_folder(out):
        if (out / shards.MANIFEST).exists():
            manifest = shards.read_manifest(out)
            _check_settings(out, manifest["settings"], settings)
            return manifest
        if (out / WORK / "settings.json").exists():
            _check_settings(out, read_json(out / WORK / "settings.json"), settings)
        else:
            (out / WORK).mkdir(exist_ok=True)
            write_json(out / WORK / "settings.json", settings)
        bar = functools.partial(tqdm, total=total, unit="B", unit_scale=True, disable=not show_progress)
        if not (out / FILE_NAME).exists():
            if tokenizer is None:
                counts: Counter[str] = Counter()
                share = sample_bytes / max(total, 1)
                with bar(desc="counting") as counting:
                    for size, part in run_tasks(
                        functools.partial(_CountWords, read, share), cut_blocks(list_units()), num_workers
                    ):
                        counts.update(part)
                        counting.update(size)
                with tqdm(desc="merging", total=vocab_size, disable=not show_progress) as merging:

                    def show(done: int, _: int) -> None:
                        merging.update(1)

                    learned = Tokenizer.from_merges(
                        learn_merges(counts, count_merges(vocab_size), min_count=min_count, progress=show)
                    )
                learned.save(out)
                del counts
            else:
                Tokenizer.load(tokenizer).save(out)
        num_blocks = 0

        def unfinished() -> Iterator[Block]:
            nonlocal num_blocks
            for block in cut_blocks(list_units()):
                num_blocks = block.number + 1
                if not (out / WORK / f"block-{block.number:05d}.json").exists():
                    yield block

        with bar(desc="encoding") as encoding:
            for record in run_tasks(
                functools.partial(_EncodeBlocks, read, out, min_held_out), unfinished(), num_workers
            ):
                encoding.update(record.get("text_bytes", 0))
        return _finish(out, num_blocks, settings, min_held_out)


def _check_settings(out: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    differences = [
        f"{key}: expected {expected.get(key)!r}, found {found.get(key)!r}"
        for key in sorted({*found, *expected})
        if found.get(key) != expected.get(key)
    ]
    if differences:
        raise FormatError(f"{out}: made with other settings ({'; '.join(differences)}); use them or another --out")


def _finish(out: Path, num_blocks: int, settings: dict[str, Any], min_held_out: int) -> dict[str, Any]:
    records = [read_json(out / WORK / f"block-{n:05d}.json") for n in range(num_blocks)]
    total = sum(record["shard"]["num_documents"] + record["aside"]["num_documents"] for record in records)
    if total < 2 * min_held_out or not total:
        raise FormatError(
            f"{', '.join(settings['sources'])}: expected at least {max(1, 2 * min_held_out)} documents "
            f"({min_held_out} are held out), found {total}; add text or lower --min-held-out"
        )
    ranked = sorted((key, n, m) for n, record in enumerate(records) for m, key in enumerate(record["keys"]))
    below = sum(key < _HELD_OUT_BELOW for key, _, _ in ranked)
    held_out = {(n, m) for _, n, m in ranked[: min(max(below, min_held_out), MAX_HELD_OUT)]}
    parts: dict[bool, list[bytes]] = {True: [], False: []}
    for n, record in enumerate(records):
        aside = shards.Shards(out / WORK, [record["aside"]], "")
        for m, tokens in enumerate(aside.documents()):
            parts[(n, m) in held_out].append(tokens.tobytes())
    train = [record["shard"] for record in records]
    train.append(shards.write_shard(out, f"train-{num_blocks:05d}", parts[False]))
    skipped: Counter[str] = Counter()
    for record in records:
        skipped.update(record["skipped"])
    tokenizer = Tokenizer.load(out)
    manifest = {
        "format": shards.FORMAT,
        "version": shards.VERSION,
        "dtype": "uint16",
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "tokenizer_sha256": sha256_file(out / FILE_NAME),
        "num_documents": total,
        "text_bytes": sum(record["text_bytes"] for record in records),
        "skipped": dict(sorted(skipped.items())),
        "settings": settings,
        "splits": {"train": train, "held-out": [shards.write_shard(out, "held-out-00000", parts[True])]},
    }
    write_json(out / shards.MANIFEST, manifest)
    shutil.rmtree(out / WORK)
    return manifest


def main(argv: Sequence[str]) -> None:
    """`python -m electra prepare`."""
    parser = argparse.ArgumentParser(prog="python -m electra prepare", description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", type=Path, help="archives, folders of text, JSONL")
    parser.add_argument("--out", type=Path, help="the shard folder to make")
    parser.add_argument("--vocab-size", type=int, default=VOCAB_SIZE)
    parser.add_argument("--min-count", type=int, default=MIN_COUNT)
    parser.add_argument("--tokenizer", type=Path, help="use this tokenizer.json instead of learning one")
    parser.add_argument("--sample-bytes", type=int, default=SAMPLE_BYTES)
    parser.add_argument("--text-field", default="text")
    parser.add_argument("--document-separator")
    parser.add_argument("--skip-bad-documents", action="store_true")
    parser.add_argument("--min-held-out", type=int, default=MIN_HELD_OUT)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--verify", type=Path, metavar="DIR")
    parser.add_argument("--inspect", type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    if args.verify:
        print(f"{args.verify}: {shards.verify(args.verify)} files are what was written")
        return
    started = time.monotonic()
    manifest = prepare(
        args.sources,
        args.out,
        vocab_size=args.vocab_size,
        min_count=args.min_count,
        tokenizer=args.tokenizer,
        sample_bytes=args.sample_bytes,
        text_field=args.text_field,
        document_separator=args.document_separator,
        skip_bad_documents=args.skip_bad_documents,
        min_held_out=args.min_held_out,
        num_workers=args.workers,
        show_progress=True,
    )
    print(manifest["num_documents"], manifest["text_bytes"], time.monotonic() - started)
