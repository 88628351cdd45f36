"""Turn text into token shards: `python -m electra prepare openwebtext.tar.xz --out owt_shards/`.

The input is cut into blocks of about 32 MiB of text, and each block becomes a shard. The blocks depend only on the
input, so the bytes written are the same for any number of workers. Each finished block has a record on disk. After an
interruption, run the same command again: it skips the blocks that have a record, and ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from electra import cli
from electra.data import corpus, shards
from electra.data.encode import WORK, EncodeBlocks, finish, finished_blocks, record_path
from electra.data.learn import byte_bar, cut_blocks, learn_tokenizer
from electra.data.windows import WindowSampler
from electra.data.workers import run_tasks
from electra.files import FormatError, lock_folder, read_json, sha256_file, write_json
from electra.ids import MAX_VOCAB_SIZE
from electra.tokenizer.byte_level import MIN_VOCAB_SIZE
from electra.tokenizer.train import MAX_CHUNK_BYTES, MIN_COUNT
from electra.tokenizer.wordpiece import load_tokenizer

SETTINGS = "settings.json"  # file in the folder WORK
_LEARNING = ("vocab_size", "min_count", "sample_bytes")  # settings that only a learned tokenizer has


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """All settings that change the bytes of a shard folder."""

    vocab_size: int = cli.setting(
        30_522, "size of the vocabulary to learn", low=MIN_VOCAB_SIZE, high=MAX_VOCAB_SIZE, unit="ids", source="table 5"
    )
    min_count: int = cli.setting(MIN_COUNT, "pairs that are rarer are not merged", low=1, unit="occurrences")
    sample_bytes: int = cli.setting(
        1_000_000_000, "text to learn the vocabulary from: the start of every file or block", low=1, unit="bytes"
    )
    tokenizer: str = cli.setting("", "use this tokenizer.json, vocab.txt, folder with one or shipped model; learn none")
    text_field: str = cli.setting("text", "field of a JSONL object that holds the text")
    document_separator: str = cli.setting("", r"what stands between the documents of a .txt file; \n is a line break")
    skip_bad_documents: bool = cli.setting(False, "leave out and count what cannot be read, instead of stopping")
    min_held_out: int = cli.setting(50, "documents to hold out if 0.5 % is fewer", low=0, high=10_000)

    def __post_init__(self) -> None:
        cli.check_settings(self)
        for name in _LEARNING:
            if self.tokenizer and getattr(self, name) != getattr(PrepareConfig, name):
                flag = cli.flag_name(name)
                raise ValueError(f"{flag}: expected --tokenizer or {flag}, found both; leave one out")

    def separator(self) -> str:
        """Return the document separator: escapes (\\n, \\r, \\t) become characters, then \\r\\n becomes \\n."""
        separator = self.document_separator
        for escape, character in ((r"\n", "\n"), (r"\r", "\r"), (r"\t", "\t"), ("\r\n", "\n")):
            separator = separator.replace(escape, character)
        return separator


class Input(NamedTuple):
    """The text to prepare."""

    list_units: Callable[[], Iterator[corpus.Unit]]
    num_bytes: int  # an estimate if the text is compressed
    identity: dict[str, Any]  # recorded in the manifest; any other text has another identity
    command: str  # recorded in the manifest


def prepare(
    sources: Sequence[Path], out: Path, config: PrepareConfig | None = None, *, num_workers: int | None = None
) -> dict[str, Any]:
    """Make a shard folder from files and folders of text; return its manifest. A finished folder is not made again.

    `num_workers` is the number of processes, by default the number of cores. If there are several processes, each
    imports the main module. Raises FormatError if a source is damaged or has no text, or if `out` was made from other
    text or with other settings; OSError if a source is missing or the disk is full.
    """
    config = config or PrepareConfig()
    paths = [path for path, problem in corpus.find_files(sources) if not problem]
    if not paths:
        where = ", ".join(map(str, sources))
        raise FormatError(f"{where}: no file with a name that ends in {corpus.ENDINGS}; check the path")
    text = Input(
        functools.partial(corpus.list_units, sources, document_separator=config.separator()),
        sum(map(corpus.text_size, paths)),
        {"sources": list(map(str, sources)), "num_files": len(paths), "content_sha256": _digest(paths)},
        _command(sources, config),
    )
    return _prepare(text, out, config, num_workers or len(os.sched_getaffinity(0)))


def prepare_documents(
    documents: Iterable[str], out: Path, *, vocab_size: int = 30_522, min_held_out: int = 50
) -> dict[str, Any]:
    """Make a shard folder from documents in memory, in this process; otherwise the same as `prepare`."""
    data = "\n".join(json.dumps({"text": text}) for text in documents).encode()
    unit = corpus.Unit("documents in memory", data, len(data), "jsonl")
    identity = {"sources": [unit.name], "num_files": 0, "content_sha256": hashlib.sha256(data).hexdigest()}
    text = Input(lambda: iter([unit]), len(data), identity, "prepare_documents(...)")
    return _prepare(text, out, PrepareConfig(vocab_size=vocab_size, min_held_out=min_held_out), num_workers=1)


def _digest(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of the names and the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = sha256_file(path)
        except OSError as error:  # the later reading of this file raises or counts the error
            content = str(error.strerror)
        digest.update(repr((str(path), content)).encode())
    return digest.hexdigest()


def _command(sources: Sequence[Path], config: PrepareConfig) -> str:
    """Return the `prepare` command without --out and --workers, because these do not change what is written."""
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
    num_workers = min(num_workers, 1 + text.num_bytes // corpus.BLOCK_BYTES)  # more would cost more time than they save
    begun, manifest = out / WORK / SETTINGS, None
    with lock_folder(out):
        if (out / shards.MANIFEST).exists():
            manifest = shards.read_manifest(out)
        if manifest or begun.exists():
            saved = manifest["settings"] if manifest else read_json(begun)
            if different := cli.differences(saved, settings):
                problem = f"made from other text (content_sha256) or with other settings: {'; '.join(different)}"
                raise FormatError(f"{out}: {problem}; use the same text and settings, or another --out")
        if not manifest:
            begun.parent.mkdir(exist_ok=True)
            write_json(begun, settings)
            for half_written in out.glob(".*.partial"):
                half_written.unlink()
            extra = {"sources": settings["sources"], "command": text.command, "settings": settings}
            manifest = _write(text, out, config, num_workers, extra)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return manifest


def _write(text: Input, out: Path, config: PrepareConfig, num_workers: int, extra: dict[str, Any]) -> dict[str, Any]:
    """Write the tokenizer and the shards that do not exist yet, then the manifest; return the manifest."""
    work, separator, report = out / WORK, config.separator(), out / WORK / "tokenizer-report.json"
    options: dict[str, Any] = {"skip_bad": config.skip_bad_documents, "text_field": config.text_field}
    read = functools.partial(corpus.read_unit, document_separator=separator, **options)
    if config.tokenizer:
        load_tokenizer(Path(config.tokenizer)).save(out)
    elif not report.exists():
        share = config.sample_bytes / max(1, text.num_bytes)
        sizes = {"vocab_size": config.vocab_size, "min_count": config.min_count, "num_workers": num_workers}
        tokenizer, numbers = learn_tokenizer(text.list_units(), read, share, scratch=work, **sizes)
        tokenizer.save(out)
        write_json(report, numbers)
    make_worker = functools.partial(EncodeBlocks, read, out, config.min_held_out)
    with byte_bar("encoding", text.num_bytes) as bar:
        bar.update(sum(record["text_bytes"] for record in finished_blocks(out)))
        tasks = (task for task in enumerate(cut_blocks(text.list_units())) if not record_path(out, task[0]).exists())
        for record in run_tasks(make_worker, tasks, num_workers):
            bar.update(record["text_bytes"])
        bar.total = bar.n  # the total was an estimate if the text is compressed
    extra["tokenizer_report"] = {} if config.tokenizer else read_json(report)
    return finish(out, config.min_held_out, separator, extra)


def summary(manifest: dict[str, Any]) -> str:
    """Return a text that says how many documents were written and left out, and describes the tokenizer."""
    documents, tokens, size = (manifest[name] for name in ("num_documents", "num_tokens", "text_bytes"))
    held_out = sum(shard["num_documents"] for shard in manifest["splits"]["held-out"])
    lines = [
        f"documents  {documents:,} ({held_out:,} held out)",
        f"tokens     {tokens:,}, {tokens / documents:,.1f} a document, {size / tokens:.3f} bytes of text each",
    ]
    first = manifest.get("first_skipped", {})  # not in manifests of earlier versions
    for reason, count in manifest["skipped"].items():
        lines.append(f"left out   {count:,} {reason}, the first: {first.get(reason, 'not recorded')}")
    if not held_out:
        lines.append("           NOTE: pre-training needs held-out documents; give --min-held-out 1 or more")
    if report := manifest["tokenizer_report"]:
        learned, asked = manifest["vocab_size"], manifest["settings"]["vocab_size"]
        lines.append(
            f"tokenizer  {learned:,} ids learned from {report['bytes'] / 1e6:,.1f} MB: "
            f"{report['characters_per_token']} characters a token, {report['unused_ids']:,} ids unused, "
            f"{report['whole_word_fraction']:.1%} of the text in words of one token"
        )
        if learned < asked:
            why = f"no further pair occurs {manifest['settings']['min_count']} times in the text learned from"
            lines.append(f"           NOTE: {asked:,} ids were asked for, {learned:,} learned: {why}; add text")
        if number := report["left_out_long_chunks"]:
            what = f"strings of more than {MAX_CHUNK_BYTES:,} bytes without a break"
            lines.append(f"           NOTE: not learned from: {number:,} {what}; put spaces or line breaks into them")
    return "\n".join(lines)


def inspect(folder: Path) -> str:
    """Return a text with the size of each split and three example windows."""
    manifest, tokenizer = shards.read_manifest(folder), load_tokenizer(folder)
    lines = [f"{folder}: {manifest['vocab_size']:,} ids, text from {', '.join(manifest['sources'])}"]
    train, held_out = (shards.open_shards(folder, split) for split in shards.SPLITS)
    lines += [f"{s.split:<9}{s.num_documents:>12,} documents {s.num_tokens:>15,} tokens" for s in (train, held_out)]
    sampler = WindowSampler(
        train, special_ids=tokenizer.special_ids, batch_size=3, seq_length=128, seed=0, sampling="documents"
    )
    lines += [f"window {n}: {tokenizer.decode(row)!r}" for n, row in enumerate(sampler.sample(0).tolist(), 1)]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Run `python -m electra prepare`: make a shard folder, or `--verify` or `--inspect` one."""
    parser = cli.Parser(prog="python -m electra prepare", description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="*", type=Path, help="archives, folders of text, .txt or .jsonl files")
    parser.add_argument("--out", type=Path, help="the shard folder to make, or to go on with")
    parser.add_argument("--workers", type=int, help="processes (default: all cores); the result does not depend on it")
    parser.add_argument("--verify", type=Path, metavar="DIR", help="check every digest of a shard folder")
    parser.add_argument("--inspect", type=Path, metavar="DIR", help="print a shard folder's statistics and windows")
    cli.add_settings(parser, PrepareConfig, "settings")
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers: expected 1 or more, found {args.workers}; leave it out to use all cores")
    is_one_thing = sum(map(bool, (args.sources or args.out, args.verify, args.inspect))) == 1
    if not is_one_thing or bool(args.sources) != bool(args.out):
        parser.error("expected sources and --out DIR; or --verify DIR; or --inspect DIR")
    if args.verify:
        print(f"{args.verify}: {shards.verify(args.verify):,} files hold what was written")
    elif args.inspect:
        print(inspect(args.inspect))
    else:
        print(summary(prepare(args.sources, args.out, cli.build(PrepareConfig, vars(args)), num_workers=args.workers)))
