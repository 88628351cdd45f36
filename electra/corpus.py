"""Documents out of files: OpenWebText archives, folders of text, JSONL; packed or not, never unpacked to disk.

A *unit* is a piece of input that one process can read alone: a file, a member of an archive, some lines of a JSONL
file. `list_units` walks the sources in a fixed order, `read_unit` yields a unit's documents.

| name ends in | read as |
|---|---|
| `.txt` | one document, or several with a document separator |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz` | an archive of `.txt` files, of archives as below, or of both |
| `.xz` alone, as in `urlsf_subset00-1_data.xz` | an xz-compressed *tar* of `.txt` files, despite its name |

Text and JSONL may be packed as `.gz`, `.bz2` or `.xz`. In folders and archives other names are passed over.
"""

from __future__ import annotations

import ast
import bz2
import contextlib
import gzip
import io
import itertools
import json
import lzma
import os
import sysconfig
import tarfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from electra.files import FormatError

BLOCK_BYTES = 32 << 20  # text that is handed to a worker in one go
_PACKING_RATIO = 3  # text bytes a packed byte stands for, roughly: only balances the work
_OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SHORT_SUFFIXES = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".ndjson": ".jsonl"}
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)
SKIP_REMEDY = "repair it, or pass --skip-bad-documents to count it and go on"


class Unit(NamedTuple):
    """A piece of input that one process can read alone."""

    name: str  # where it comes from, for messages
    kind: str  # "text", "jsonl", "archive" (an inner one) or "documents"
    size: int  # bytes of text, roughly when packed
    path: Path | None = None  # the file, or
    data: bytes = b""  # its content
    offset: int = 0  # where `data` starts in the unpacked file
    first_line: int = 1  # likewise, of a JSONL file
    documents: tuple[str, ...] = ()  # of a unit made in memory


class BadDocument(FormatError):
    """One document, or the rest of one file, cannot be read. `reason` is what a summary counts."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return BadDocument, (self.args[0], self.reason)


def kind_of(name: str) -> tuple[str, str]:
    """What a file name promises: (kind, packing). Kind is "" for a name that is not read."""
    for short, full in _SHORT_SUFFIXES.items():
        if name.endswith(short):
            name = name.removesuffix(short) + full
    base, packing = os.path.splitext(name)
    if packing not in _OPENERS:
        base, packing = name, ""
    suffix = os.path.splitext(base)[1]
    kinds = {".txt": "text", ".jsonl": "jsonl", ".tar": "outer archive"}
    return kinds.get(suffix, "archive" if packing == ".xz" else ""), packing


def list_units(sources: Sequence[Path], *, document_separator: str | None = None) -> Iterator[Unit]:
    """The units of files and folders, in an order that depends on nothing but their names and content.

    Raises:
        FileNotFoundError: a source is missing.
        FormatError: a source's name says nothing that is read, or an outer archive is damaged.
    """
    for source in sources:
        for path in list_files(source):
            yield from _units_of_file(path, document_separator)


def list_files(source: Path) -> list[Path]:
    """The files of one source: itself, or the readable names below a folder, sorted by their parts."""
    if source.is_dir():
        files = [Path(folder, name) for folder, _, names in os.walk(source) for name in names if kind_of(name)[0]]
        return sorted(files, key=lambda path: path.parts)
    if not source.exists():
        raise FileNotFoundError(f"{source}: expected a file or a folder of text, found nothing; check the path")
    if not kind_of(source.name)[0]:
        expected = ".txt, .jsonl, .tar (each also .gz, .bz2 or .xz), or an OpenWebText .xz"
        raise FormatError(f"{source}: expected a name in {expected}; rename it or convert it")
    return [source]


def text_size(path: Path) -> int:
    """About how many bytes of text a file holds; exact when it is not packed."""
    kind, packing = kind_of(path.name)
    packed = bool(packing)
    if kind == "outer archive" and not packing:
        packed = any(unit.kind == "archive" for unit in itertools.islice(_units_of_file(path, None), 1))
    return path.stat().st_size * (_PACKING_RATIO if packed else 1)


def _units_of_file(path: Path, separator: str | None) -> Iterator[Unit]:
    kind, packing = kind_of(path.name)
    if kind == "outer archive":
        with open_unpacked(path) as file:
            yield from _units_of_archive(file, str(path))
    elif kind == "jsonl":
        with open_unpacked(path) as file:
            yield from _cut(file, path, "jsonl", b"\n")
    elif kind == "text" and separator is not None:
        with open_unpacked(path) as file:
            yield from _cut(file, path, "text", separator.encode())
    else:
        size = path.stat().st_size * (_PACKING_RATIO if packing else 1)
        yield Unit(str(path), kind, size, path=path)


def _units_of_archive(file: IO[bytes], where: str) -> Iterator[Unit]:
    for name, data in read_tar(file, where):
        kind, packing = kind_of(name)
        if kind in ("archive", "text") and packing in ("", ".xz"):
            size = len(data) * (_PACKING_RATIO if packing else 1)
            yield Unit(f"{where}:{name}", kind, size, data=data)


def _cut(file: IO[bytes], path: Path, kind: str, separator: bytes) -> Iterator[Unit]:
    """Cut a long file into units of about `BLOCK_BYTES`, each ending where a document does."""
    offset, line, rest = 0, 1, b""
    with naming_damage(str(path)):
        while block := file.read(BLOCK_BYTES):
            head, found, tail = (rest + block).rpartition(separator)
            if not found:
                rest += block
                continue
            yield Unit(str(path), kind, len(head), data=head, offset=offset, first_line=line)
            offset, line, rest = offset + len(head) + len(separator), line + head.count(b"\n") + 1, tail
    if rest:
        yield Unit(str(path), kind, len(rest), data=rest, offset=offset, first_line=line)


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading what it holds once unpacked."""
    packing = kind_of(path.name)[1]
    return _OPENERS[packing](path) if packing else open(path, "rb")


@contextlib.contextmanager
def naming_damage(where: str) -> Iterator[None]:
    """Say which file a decompressor's complaint is about."""
    try:
        yield
    except _DAMAGE as error:
        what = "its end too early" if isinstance(error, EOFError) else f"damage ({error})"
        message = f"{where}: expected a whole compressed file, found {what}; {SKIP_REMEDY}"
        raise BadDocument(message, "damaged archive") from None


def read_tar(file: IO[bytes], where: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's regular files, in order, reading forward only.

    Stricter than `tarfile`, which takes a damaged header after the first for the end of the archive.
    """
    with naming_damage(where):
        offset, long_name = 0, ""
        while (header := file.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
            try:
                member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                found = f"{error} at offset {offset:,}"
                message = f"{where}: expected a tar header, found {found}; {SKIP_REMEDY}"
                raise BadDocument(message, "damaged archive") from None
            padded = -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            content = file.read(padded)
            if len(content) != padded:
                raise EOFError
            offset += tarfile.BLOCKSIZE + padded
            if member.type == tarfile.GNUTYPE_LONGNAME:
                long_name = content[: member.size].rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif member.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                long_name = _pax_path(content[: member.size])
            else:
                if member.isreg():
                    yield long_name or member.name, content[: member.size]
                long_name = ""
        while file.read(1 << 20):  # to the end, where the compressor's own check stands
            pass


def _pax_path(records: bytes) -> str:
    """The member's name in a pax header, "" when it has none."""
    for record in records.decode("utf-8", "surrogateescape").split("\n"):
        key, _, value = record.partition("=")
        if key.endswith(" path"):
            return value
    return ""


def read_unit(
    unit: Unit,
    skipped: Counter[str],
    *,
    skip_bad: bool = False,
    text_field: str = "text",
    document_separator: str | None = None,
) -> Iterator[str]:
    """The documents of one unit. What is left out is counted in `skipped` by reason, empty documents always.

    Raises:
        BadDocument: a document cannot be read, and `skip_bad` is off.
    """
    readers = {"text": _read_text, "jsonl": _read_jsonl, "archive": _read_archive, "documents": _read_memory}
    raw_documents = readers[unit.kind](unit, text_field if unit.kind == "jsonl" else document_separator)
    while True:
        try:
            item = next(raw_documents, None)
            if item is None:
                return
            text = _decode(*item)
        except BadDocument as error:
            if not skip_bad:
                raise
            skipped[error.reason] += 1
            continue
        if text.isspace() or not text:
            skipped["empty"] += 1
        else:
            yield text


def _decode(where: str, offset: int, raw: bytes | str | BadDocument) -> str:
    """A document's text; `offset` is where it starts in the unpacked file."""
    if isinstance(raw, BadDocument):
        raise raw
    try:
        if isinstance(raw, bytes):
            return raw.decode()
        raw.encode()
        return raw
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at offset {offset + error.start:,}"
        raise BadDocument(f"{where}: expected UTF-8, found {found}; {SKIP_REMEDY}", "invalid UTF-8") from None
    except UnicodeEncodeError as error:
        found = f"the lone surrogate U+{ord(raw[error.start]):04X} at character {error.start:,}"
        raise BadDocument(f"{where}: expected text, found {found}; {SKIP_REMEDY}", "lone surrogate") from None


_Raw = Iterator[tuple[str, int, "bytes | str | BadDocument"]]  # where, offset, content or what is wrong with it


def _read_memory(unit: Unit, _: str | None) -> _Raw:
    for number, text in enumerate(unit.documents, 1):
        yield f"document {number} of {unit.name}", 0, text


def _content(unit: Unit) -> bytes:
    if unit.path is None and kind_of(unit.name)[1] == "":
        return unit.data
    with naming_damage(unit.name), _open_unit(unit) as file:
        return file.read()


def _open_unit(unit: Unit) -> IO[bytes]:
    if unit.path is not None:
        return open_unpacked(unit.path)
    return lzma.open(io.BytesIO(unit.data))


def _read_text(unit: Unit, separator: str | None) -> _Raw:
    try:
        content = unit.data if unit.path is None else _content(unit)
    except BadDocument as error:
        yield unit.name, 0, error
        return
    if separator is None:
        yield unit.name, 0, content
        return
    offset = unit.offset
    for part in content.split(separator.encode()):
        yield unit.name, offset + len(part) - len(part.lstrip(b"\r\n")), part.strip(b"\r\n")
        offset += len(part) + len(separator.encode())


def _read_jsonl(unit: Unit, field: str | None) -> _Raw:
    for number, line in enumerate(unit.data.split(b"\n"), unit.first_line):
        where = f"{unit.name}, line {number:,}"
        if line.strip():
            yield where, 0, _field(where, line, str(field))


def _field(where: str, line: bytes, field: str) -> bytes | str | BadDocument:
    expected = f"{where}: expected a JSON object with the text in {field!r}"
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        return line  # so that the offset is named as for any text
    except json.JSONDecodeError as error:
        return BadDocument(f"{expected}, found {error.msg} at column {error.colno}; {SKIP_REMEDY}", "bad JSON line")
    value = record.get(field) if isinstance(record, dict) else None
    if isinstance(value, str):
        return value
    found = f"the fields {', '.join(map(repr, record))}" if isinstance(record, dict) else type(record).__name__
    return BadDocument(f"{expected}, found {found}; name it with --text-field", "no text field")


def _read_archive(unit: Unit, _: str | None) -> _Raw:
    try:
        with _open_unit(unit) as file:
            for name, content in read_tar(file, unit.name):
                if name.endswith(".txt"):
                    yield f"{unit.name}:{name}", 0, content
    except BadDocument as error:
        yield unit.name, 0, error


def standard_library_documents() -> Iterator[str]:
    """The demo's text: English that every CPython carries, one document a help topic or module.

    The `pydoc_data` topics, then the docstrings of each standard library module, read with `ast`; tests left out.
    About 650 documents and 2.2 MB in 2.5 s; they differ a little from one Python version to the next.
    """
    from pydoc_data.topics import topics

    yield from (text for _, text in sorted(topics.items()))
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3"}
    for path in sorted(root.rglob("*.py")):
        if left_out.isdisjoint(path.relative_to(root).parts):
            text = _docstrings(path)
            if text:
                yield text


def _docstrings(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own invalid escapes are not ours to report
        tree = ast.parse(path.read_bytes())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return "\n\n".join(text for text in found if text)
