"""Text to token shards: `python -m electra prepare openwebtext.tar.xz --out owt_shards/`.

The input is cut into blocks of about 32 MiB of text that depend on nothing but the input, and each block becomes a
shard, so the bytes written are the same for any number of workers. A finished block leaves a record; the same
command, run again after any interruption, skips the blocks that have one, and ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from electra import cli
from electra.data import corpus, shards
from electra.data.encode import WORK, EncodeBlocks, finish, record_path
from electra.data.learn import Block, Reader, cut_blocks, learn_tokenizer
from electra.data.summary import inspect, summary
from electra.data.workers import run_tasks
from electra.files import FormatError, lock_folder, read_json, sha256_file, write_json
from electra.ids import MAX_VOCAB_SIZE
from electra.tokenizer.byte_level import FILE_NAME, MIN_VOCAB_SIZE, count_merges
from electra.tokenizer.train import MIN_COUNT
from electra.tokenizer.wordpiece import load_tokenizer, tokenizer_file

SETTINGS, REPORT = "settings.json", "tokenizer-report.json"  # in WORK
_LEARNING = ("vocab_size", "min_count", "sample_bytes")  # settings of a tokenizer that is learned
_SHARD_BYTES_PER_TEXT_BYTE = 0.5  # two bytes a token of four characters


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
    """Text to prepare."""

    list_units: Callable[[], Iterator[corpus.Unit]]
    read: Reader
    size: int  # in bytes; roughly, when packed
    identity: dict[str, Any]  # what tells it from other text
    command: str  # that does the same again
    separator: str = ""


def prepare(
    sources: Sequence[Path],
    out: Path,
    config: PrepareConfig | None = None,
    *,
    num_workers: int | None = None,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Make a shard folder from files and folders of text. A folder that already is what is asked for is left alone.

    Args:
        num_workers: processes; all cores by default. More than one start this program's main module anew.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError, FormatError: a source is missing, damaged or empty; `out` holds something else.
        ValueError: an impossible setting.
        OSError: the disk is full, or would be.
    """
    config = config or PrepareConfig()
    separator = config.document_separator
    for escape, character in ((r"\n", "\n"), (r"\r", "\r"), (r"\t", "\t"), ("\r\n", "\n")):
        separator = separator.replace(escape, character)
    paths = [path for path, problem in corpus.find_files(sources) if not problem]
    if not paths:
        raise FormatError(f"{', '.join(map(str, sources))}: expected files of text, found none; check the path")
    size = sum(map(corpus.text_size, paths))
    text = Input(
        list_units=functools.partial(corpus.list_units, sources, document_separator=separator),
        read=functools.partial(
            corpus.read_unit,
            skip_bad=config.skip_bad_documents,
            text_field=config.text_field,
            document_separator=separator,
        ),
        size=size,
        identity={"sources": list(map(str, sources)), "num_files": len(paths), "content_sha256": _digest(paths)},
        command=_command(sources, config),
        separator=separator,
    )
    return _prepare(text, out, config, num_workers or len(os.sched_getaffinity(0)), show_progress)


def prepare_documents(
    documents: Iterable[str],
    out: Path,
    *,
    vocab_size: int = 30_522,
    min_count: int = MIN_COUNT,
    min_held_out: int = 50,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Make a shard folder from documents in memory, in this process; else as `prepare`."""
    texts = tuple(documents)
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    unit = corpus.Unit("documents in memory", "documents", sum(map(len, texts)), documents=texts)
    identity = {"sources": [unit.name], "num_files": 0, "content_sha256": digest.hexdigest()}
    config = PrepareConfig(vocab_size=vocab_size, min_count=min_count, min_held_out=min_held_out)
    units = Input(lambda: iter([unit]), corpus.read_unit, unit.size, identity, command="prepare_documents(...)")
    return _prepare(units, out, config, 1, show_progress)


def _digest(paths: Sequence[Path]) -> str:
    """SHA-256 over the names and the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = sha256_file(path)
        except OSError as error:  # reading will stop there, or count it
            content = str(error.strerror)
        digest.update(repr((str(path), content)).encode())
    return digest.hexdigest()


def _command(sources: Sequence[Path], config: PrepareConfig) -> str:
    """The command without --out and --workers, which change nothing in the folder."""
    command = ["python", "-m", "electra", "prepare", *map(str, sources)]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            command += [cli.flag_name(field.name)] if value is True else [cli.flag_name(field.name), str(value)]
    return shlex.join(command)


def _prepare(text: Input, out: Path, config: PrepareConfig, num_workers: int, show_progress: bool) -> dict[str, Any]:
    settings = {**text.identity, **dataclasses.asdict(config)}
    if config.tokenizer:
        settings = {name: value for name, value in settings.items() if name not in _LEARNING}
        settings["tokenizer"] = load_tokenizer(Path(config.tokenizer)).fingerprint

    def bar(what: str) -> tqdm[Any]:
        return tqdm(desc=what, total=text.size, unit="B", unit_scale=True, disable=not show_progress)

    num_workers = min(num_workers, 1 + text.size // corpus.BLOCK_BYTES)  # starting one costs more than a small block
    if out.exists() and not out.is_dir():
        raise FormatError(f"{out}: expected a folder to make or go on with, found a file; choose another --out")
    with lock_folder(out):
        if (out / shards.MANIFEST).exists():
            manifest = shards.read_manifest(out)
            _refuse_other(out, manifest["settings"], settings)
        else:
            _claim(out, settings)
            _check_space(out, text.size)
            report = _make_tokenizer(text, out, config, num_workers, bar)
            num_blocks = _encode(text, out, config.min_held_out, num_workers, bar)
            extra = {
                "sources": settings["sources"],
                "command": text.command,
                "settings": settings,
                "tokenizer_report": report,
            }
            manifest = finish(out, num_blocks, config.min_held_out, text.separator, extra)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return manifest


def _refuse_other(out: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    differences = [
        "the text of the files has changed since"
        if name == "content_sha256" and name in found
        else f"{name} is {found.get(name)!r}, asked for {asked.get(name)!r}"
        for name in sorted({*found, *asked})
        if found.get(name) != asked.get(name)
    ]
    if differences:
        expected = f"{out}: expected a folder of this text and these settings, found others ({'; '.join(differences)})"
        raise FormatError(f"{expected}; use those or another --out")


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Take up an unfinished folder of these settings, or begin one; what a killed writer left half-done goes."""
    (out / WORK).mkdir(exist_ok=True)
    for half_done in [*out.glob(".*.partial"), *(out / WORK).glob(".*.partial")]:
        half_done.unlink()
    if (out / WORK / SETTINGS).exists():
        _refuse_other(out, read_json(out / WORK / SETTINGS), settings)
    else:
        write_json(out / WORK / SETTINGS, settings)


def _check_space(out: Path, text_bytes: int) -> None:
    written = sum(file.stat().st_size for file in out.glob("*.npy"))
    needed, free = int(text_bytes * _SHARD_BYTES_PER_TEXT_BYTE) - written, shutil.disk_usage(out).free
    if needed > free:
        expected = f"about {needed / 1e9:,.1f} GB free for {text_bytes / 1e9:,.1f} GB of text"
        raise OSError(f"{out}: expected {expected}, found {free / 1e9:,.1f} GB; free some or use another --out")


def _make_tokenizer(
    text: Input, out: Path, config: PrepareConfig, num_workers: int, bar: Callable[[str], Any]
) -> dict[str, Any]:
    """Put the tokenizer into the folder unless it is there; returns what is reported of a learned one."""
    if config.tokenizer:
        if not tokenizer_file(out).exists():
            load_tokenizer(Path(config.tokenizer)).save(out)
        return {}
    if not (out / FILE_NAME).exists():
        tokenizer, report = learn_tokenizer(
            text.list_units(),
            text.read,
            config.sample_bytes / max(1, text.size),
            vocab_size=config.vocab_size,
            min_count=config.min_count,
            num_workers=num_workers,
            bar=bar,
            scratch=out / WORK,
        )
        write_json(out / WORK / REPORT, report)
        tokenizer.save(out)
    return read_json(out / WORK / REPORT)


def _encode(text: Input, out: Path, min_held_out: int, num_workers: int, bar: Callable[[str], Any]) -> int:
    """Write the shards of all blocks that have no record yet; returns the number of blocks."""
    num_blocks = 0
    with bar("encoding") as progress:

        def unfinished() -> Iterator[Block]:
            nonlocal num_blocks
            for block in cut_blocks(text.list_units()):
                num_blocks = block.number + 1
                if record_path(out, block.number).exists():
                    progress.update(sum(unit.size for unit in block.units))
                else:
                    yield block

        make_worker = functools.partial(EncodeBlocks, text.read, out, min_held_out)
        for record in run_tasks(make_worker, unfinished(), num_workers):
            progress.update(record["text_bytes"])
        progress.total = progress.n  # of packed text it was a guess
    return num_blocks


def main(argv: Sequence[str]) -> None:
    """`python -m electra prepare`: make, `--verify` or `--inspect` a shard folder."""
    parser = cli.Parser(prog="python -m electra prepare", description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", type=Path, help="archives, folders of text, .txt or .jsonl files")
    parser.add_argument("--out", type=Path, help="the shard folder to make, or to go on with")
    parser.add_argument("--workers", type=int, help="processes (default: all cores); the result does not depend on it")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="check every digest of a shard folder")
    parser.add_argument(
        "--inspect", type=Path, metavar="DIR", help="print a shard folder's statistics and three windows"
    )
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
    goes_on = any((args.out / begun).exists() for begun in (shards.MANIFEST, f"{WORK}/{SETTINGS}"))
    started = time.monotonic()
    config = cli.build(PrepareConfig, vars(args))
    manifest = prepare(args.sources, args.out, config, num_workers=args.workers, show_progress=sys.stderr.isatty())
    print(summary(manifest, time.monotonic() - started, goes_on=goes_on))
