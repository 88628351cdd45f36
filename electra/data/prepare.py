"""Text to token shards: `python -m electra prepare openwebtext.tar.xz --out owt_shards/`.

The input is cut into blocks of about 32 MiB of text that depend on nothing but the input, and each block becomes a
shard, so the bytes written are the same for any number of workers. A finished block leaves a record; the same
command, run again after any interruption, skips the blocks that have one, and ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from electra import cli
from electra.data import corpus, shards
from electra.data.encode import WORK, EncodeBlocks, finish, record_path
from electra.data.learn import Reader, byte_bar, cut_blocks, learn_tokenizer
from electra.data.summary import inspect, summary
from electra.data.workers import run_tasks
from electra.files import FormatError, lock_folder, read_json, sha256_file, write_json
from electra.ids import MAX_VOCAB_SIZE
from electra.tokenizer.byte_level import FILE_NAME, MIN_VOCAB_SIZE, count_merges
from electra.tokenizer.train import MIN_COUNT
from electra.tokenizer.wordpiece import load_tokenizer, tokenizer_file

SETTINGS, REPORT = "settings.json", "tokenizer-report.json"  # in WORK
_LEARNING = ("vocab_size", "min_count", "sample_bytes")  # settings of a tokenizer that is learned


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What decides the bytes of a shard folder, beside the text."""

    vocab_size: int = cli.setting(
        30_522,
        f"ids of the tokenizer that is learned, {MIN_VOCAB_SIZE} to {MAX_VOCAB_SIZE:,}",
        unit="ids",
        source="table 5",
    )
    min_count: int = cli.setting(MIN_COUNT, "pairs that are rarer are not merged", low=1, unit="occurrences")
    sample_bytes: int = cli.setting(
        1_000_000_000,
        "text the tokenizer is learned from: the start of every file or block, in proportion",
        low=1,
        unit="bytes",
    )
    tokenizer: str = cli.setting("", "use this tokenizer.json, vocab.txt or folder with one; learn none")
    text_field: str = cli.setting("text", "field of a JSONL object that holds the text")
    document_separator: str = cli.setting("", r"what stands between the documents of a .txt file; \n is a line break")
    skip_bad_documents: bool = cli.setting(False, "leave out and count what cannot be read, instead of stopping")
    min_held_out: int = cli.setting(
        50, "documents to hold out where 0.5 % is fewer", low=0, high=10_000, unit="documents"
    )

    def __post_init__(self) -> None:
        cli.check_settings(self)
        count_merges(self.vocab_size)
        for field in dataclasses.fields(self):
            if self.tokenizer and field.name in _LEARNING and getattr(self, field.name) != field.default:
                flag = cli.flag_name(field.name)
                raise ValueError(f"{flag}: expected --tokenizer or {flag}, found both; leave one out")


class Input(NamedTuple):
    """The text to prepare."""

    list_units: Callable[[], Iterator[corpus.Unit]]
    read: Reader
    size: int  # in bytes; roughly, when compressed
    identity: dict[str, Any]  # differs from that of any other text
    command: str
    separator: str = ""


def prepare(
    sources: Sequence[Path], out: Path, config: PrepareConfig | None = None, *, num_workers: int | None = None
) -> dict[str, Any]:
    """Make a shard folder from files and folders of text, unless the folder is there already.

    Args:
        num_workers: processes; all cores by default. More than one start this program's main module anew.

    Returns:
        The manifest.

    Raises:
        FormatError: a source is damaged or has no text, or `out` holds something else.
        ValueError: a setting is impossible.
        OSError: a source is missing, or the disk is full.
    """
    config = config or PrepareConfig()
    separator = config.document_separator
    for escape, character in ((r"\n", "\n"), (r"\r", "\r"), (r"\t", "\t"), ("\r\n", "\n")):
        separator = separator.replace(escape, character)
    paths = [path for path, problem in corpus.find_files(sources) if not problem]
    if not paths:
        raise FormatError(f"{', '.join(map(str, sources))}: no files of text; check the path")
    text = Input(
        list_units=functools.partial(corpus.list_units, sources, document_separator=separator),
        read=functools.partial(
            corpus.read_unit,
            skip_bad=config.skip_bad_documents,
            text_field=config.text_field,
            document_separator=separator,
        ),
        size=sum(map(corpus.text_size, paths)),
        identity={"sources": list(map(str, sources)), "num_files": len(paths), "content_sha256": _digest(paths)},
        command=_command(sources, config),
        separator=separator,
    )
    return _prepare(text, out, config, num_workers or len(os.sched_getaffinity(0)))


def prepare_documents(
    documents: Iterable[str], out: Path, *, vocab_size: int = 30_522, min_held_out: int = 50
) -> dict[str, Any]:
    """Make a shard folder from documents in memory, in this process; else as `prepare`."""
    data = "\n".join(json.dumps({"text": text}) for text in documents).encode()
    unit = corpus.Unit("documents in memory", data, len(data), "jsonl")
    identity = {"sources": [unit.name], "num_files": 0, "content_sha256": hashlib.sha256(data).hexdigest()}
    text = Input(lambda: iter([unit]), corpus.read_unit, unit.size, identity, command="prepare_documents(...)")
    return _prepare(text, out, PrepareConfig(vocab_size=vocab_size, min_held_out=min_held_out), num_workers=1)


def _digest(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of the names and the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = sha256_file(path)
        except OSError as error:  # reading will stop there, or count it
            content = str(error.strerror)
        digest.update(repr((str(path), content)).encode())
    return digest.hexdigest()


def _command(sources: Sequence[Path], config: PrepareConfig) -> str:
    """Return the command without --out and --workers, which change nothing in the folder."""
    command = ["python", "-m", "electra", "prepare", *map(str, sources)]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            command += [cli.flag_name(field.name)] if value is True else [cli.flag_name(field.name), str(value)]
    return shlex.join(command)


def _prepare(text: Input, out: Path, config: PrepareConfig, num_workers: int) -> dict[str, Any]:
    settings = {**text.identity, **dataclasses.asdict(config)}
    if config.tokenizer:
        settings = {name: value for name, value in settings.items() if name not in _LEARNING}
        settings["tokenizer"] = load_tokenizer(Path(config.tokenizer)).fingerprint
    num_workers = min(num_workers, 1 + text.size // corpus.BLOCK_BYTES)  # starting one costs more than a small block
    with lock_folder(out):
        if (out / shards.MANIFEST).exists():
            manifest = shards.read_manifest(out)
            _check_same(out, manifest["settings"], settings)
        else:
            _begin(out, settings)
            report = _make_tokenizer(text, out, config, num_workers)
            num_blocks = _encode(text, out, config.min_held_out, num_workers)
            extra = {
                "sources": settings["sources"],
                "command": text.command,
                "settings": settings,
                "tokenizer_report": report,
            }
            manifest = finish(out, num_blocks, config.min_held_out, text.separator, extra)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return manifest


def _check_same(out: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse a folder of other text or settings."""
    if different := cli.differences(found, asked):
        problem = f"made from other text (content_sha256) or with other settings: {'; '.join(different)}"
        raise FormatError(f"{out}: {problem}; use the same, or another --out")


def _begin(out: Path, settings: dict[str, Any]) -> None:
    """Begin a folder, or continue an unfinished one of the same settings."""
    work = out / WORK
    work.mkdir(exist_ok=True)
    for half_written in [*out.glob(".*.partial"), *work.glob(".*.partial")]:
        half_written.unlink()
    if (work / SETTINGS).exists():
        _check_same(out, read_json(work / SETTINGS), settings)
    else:
        write_json(work / SETTINGS, settings)


def _make_tokenizer(text: Input, out: Path, config: PrepareConfig, num_workers: int) -> dict[str, Any]:
    """Write the tokenizer into the folder unless it is there; return the report of a learned one."""
    if config.tokenizer:
        if not tokenizer_file(out).exists():
            load_tokenizer(Path(config.tokenizer)).save(out)
        return {}
    if not (out / FILE_NAME).exists():
        tokenizer, report = learn_tokenizer(
            text.list_units(),
            text.read,
            num_bytes=text.size,
            sample_bytes=config.sample_bytes,
            vocab_size=config.vocab_size,
            min_count=config.min_count,
            num_workers=num_workers,
            scratch=out / WORK,
        )
        write_json(out / WORK / REPORT, report)
        tokenizer.save(out)
    return read_json(out / WORK / REPORT)


def _encode(text: Input, out: Path, min_held_out: int, num_workers: int) -> int:
    """Write the shards of all blocks that have no record yet; return the number of blocks."""
    num_blocks = 0
    with byte_bar("encoding", text.size) as bar:

        def unfinished() -> Iterator[tuple[int, list[corpus.Unit]]]:
            nonlocal num_blocks
            for number, block in enumerate(cut_blocks(text.list_units())):
                num_blocks = number + 1
                if record_path(out, number).exists():
                    bar.update(sum(unit.size for unit in block))
                else:
                    yield number, block

        make_worker = functools.partial(EncodeBlocks, text.read, out, min_held_out)
        for record in run_tasks(make_worker, unfinished(), num_workers):
            bar.update(record["text_bytes"])
        bar.total = bar.n  # it was a guess if the text is compressed
    return num_blocks


def main(argv: Sequence[str]) -> None:
    """`python -m electra prepare`: make, `--verify` or `--inspect` a shard folder."""
    parser = cli.Parser(prog="python -m electra prepare", description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", type=Path, help="archives, folders of text, .txt or .jsonl files")
    parser.add_argument("--out", type=Path, help="the shard folder to make, or to go on with")
    parser.add_argument("--workers", type=int, help="processes (default: all cores); the result does not depend on it")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="check every digest of a shard folder")
    parser.add_argument("--inspect", type=Path, metavar="DIR", help="print a shard folder's statistics and windows")
    cli.add_settings(parser, PrepareConfig, "settings")
    args = parser.parse_args(argv)
    if args.verify:
        print(f"{args.verify}: {shards.verify(args.verify):,} files hold what was written")
    if args.inspect:
        print(inspect(args.inspect))
    if args.verify or args.inspect:
        return
    if not args.sources or not args.out:
        parser.error("expected sources and --out DIR; or --verify DIR; or --inspect DIR")
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers: expected 1 or more, found {args.workers}; leave it out to use all cores")
    started = time.monotonic()
    manifest = prepare(args.sources, args.out, cli.build(PrepareConfig, vars(args)), num_workers=args.workers)
    print(summary(manifest))
    print(f"time       {time.monotonic() - started:,.1f} s")
