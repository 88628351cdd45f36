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

import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from electra.data.archives import OPENERS, PACKED_TARS, SKIP_REMEDY, BadDocument, naming_damage, open_unpacked, read_tar
from electra.files import FormatError

BLOCK_BYTES = 32 << 20  # text that a worker is handed in one go
_READ_BYTES = 1 << 20
_PACKING_RATIO = 3  # text bytes that a packed byte stands for, roughly
_KINDS = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tar": "outer archive"}


class Unit(NamedTuple):
    """A piece of input that one process can read alone."""

    name: str  # where it comes from, for messages
    kind: str  # "text", "jsonl", "archive" (a packed tar of .txt), "documents" or "damaged"
    size: int  # bytes of text, roughly when packed
    path: Path | None = None  # the file, or else
    data: bytes = b""  # its content
    offset: int = 0  # where `data` starts in the unpacked file
    first_line: int = 1  # likewise, for JSONL
    documents: tuple[str, ...] = ()  # of a unit made in memory
    damage: BadDocument | None = None  # what kept the rest of a source from being listed


def kind_of(name: str) -> tuple[str, str]:
    """What a file name promises: its kind ("" when it is not read) and the suffix of its packing."""
    base, packing = os.path.splitext(name)
    if packing in PACKED_TARS:
        base, packing = base + ".tar", PACKED_TARS[packing]
    elif packing not in OPENERS:
        base, packing = name, ""
    return _KINDS.get(os.path.splitext(base)[1], "archive" if packing == ".xz" else ""), packing


def find_files(source: Path) -> Iterator[Path]:
    """The files of one source: itself, or the readable names in a folder and those below it, each folder by name.

    Raises:
        FileNotFoundError: there is no such file or folder.
        FormatError: the name of a file says nothing that is read.
    """
    if source.is_dir():
        for name in sorted(os.listdir(source)):
            if (source / name).is_dir() or kind_of(name)[0]:
                yield from find_files(source / name)
        return
    if not source.exists():
        raise FileNotFoundError(f"{source}: expected a file or a folder of text, found nothing; check the path")
    if not kind_of(source.name)[0]:
        expected = ".txt, .jsonl, .tar (each also packed as .gz, .bz2 or .xz) or OpenWebText's .xz"
        raise FormatError(f"{source}: expected a name that ends in {expected}, found {source.name}; rename it")
    yield source


def text_size(path: Path) -> int:
    """About how many bytes of text a file holds; exact when nothing is packed."""
    kind, packing = kind_of(path.name)
    is_packed = bool(packing)
    if kind == "outer archive" and not packing:
        is_packed = any(unit.kind == "archive" for unit in itertools.islice(list_units([path]), 1))
    return path.stat().st_size * (_PACKING_RATIO if is_packed else 1)


def list_units(sources: Sequence[Path], *, document_separator: str = "") -> Iterator[Unit]:
    """The units of files and folders, in an order that depends on nothing but their names and content.

    Damage that keeps the rest of a file from being listed becomes a unit of its own, which `read_unit` reports.
    """
    for source in sources:
        for path in find_files(source):
            try:
                yield from _units_of_file(path, document_separator)
            except BadDocument as damage:
                yield Unit(str(path), "damaged", 0, damage=damage)


def _units_of_file(path: Path, separator: str) -> Iterator[Unit]:
    kind, packing = kind_of(path.name)
    size = path.stat().st_size
    if kind == "outer archive":
        with naming_damage(str(path), size), open_unpacked(path) as file:
            yield from _units_of_archive(file, str(path))
    elif kind == "jsonl" or (kind == "text" and separator):
        with naming_damage(str(path), size), open_unpacked(path) as file:
            yield from _cut(file, str(path), kind, separator.encode() if kind == "text" else b"\n")
    else:
        yield Unit(str(path), kind, size * (_PACKING_RATIO if packing else 1), path=path)


def _units_of_archive(file: IO[bytes], where: str) -> Iterator[Unit]:
    for name, data in read_tar(file, where):
        kind, packing = kind_of(name)
        if kind == "archive" or (kind == "text" and not packing):
            yield Unit(f"{where}:{name}", kind, len(data) * (_PACKING_RATIO if packing else 1), data=data)


def _cut(file: IO[bytes], where: str, kind: str, separator: bytes) -> Iterator[Unit]:
    """Cut a long file into units of about `BLOCK_BYTES`, each ending where a document does."""
    offset, line, parts, size = 0, 1, [b""], 0
    while block := file.read(_READ_BYTES):
        parts.append(block)
        size += len(block)
        if size < BLOCK_BYTES:
            continue
        head, found, tail = b"".join(parts).rpartition(separator)
        if found:
            yield Unit(where, kind, len(head), data=head, offset=offset, first_line=line)
            offset += len(head) + len(separator)
            line += head.count(b"\n") + separator.count(b"\n")
        parts, size = [tail], 0
    if rest := b"".join(parts):
        yield Unit(where, kind, len(rest), data=rest, offset=offset, first_line=line)


def read_unit(
    unit: Unit,
    skipped: Counter[str],
    *,
    skip_bad: bool = False,
    text_field: str = "text",
    document_separator: str = "",
) -> Iterator[str]:
    """The documents of one unit. What is left out is counted in `skipped` by reason, empty documents always.

    A document is empty when it has no visible character.

    Raises:
        BadDocument: a document cannot be read, and `skip_bad` is off.
    """
    for where, offset, raw in _raw_documents(unit, text_field, document_separator):
        text = _decode(where, offset, raw)
        if isinstance(text, BadDocument):
            if not skip_bad:
                raise text
            skipped[text.reason] += 1
        elif not text or text.isspace():
            skipped["empty"] += 1
        else:
            yield text


_Raw = tuple[str, int, "bytes | str | BadDocument"]  # where, its offset in the file, content or what is wrong with it


def _raw_documents(unit: Unit, text_field: str, separator: str) -> Iterator[_Raw]:
    """A unit's documents as they lie there; damage comes last."""
    try:
        if unit.damage:
            raise unit.damage
        with naming_damage(unit.name, len(unit.data) or (unit.path.stat().st_size if unit.path else 0)):
            if unit.kind == "documents":
                yield from ((f"document {n:,}", 0, text) for n, text in enumerate(unit.documents, 1))
            elif unit.kind == "archive":
                yield from _read_archive(unit)
            elif unit.kind == "jsonl":
                yield from _read_jsonl(unit, text_field)
            else:
                yield from _read_text(unit, separator.encode())
    except BadDocument as damage:
        yield unit.name, 0, damage


def _read_archive(unit: Unit) -> Iterator[_Raw]:
    with OPENERS[".xz"](unit.path or io.BytesIO(unit.data)) as file:
        for name, content in read_tar(file, unit.name):
            if name.endswith(".txt"):
                yield f"{unit.name}:{name}", 0, content


def _read_text(unit: Unit, separator: bytes) -> Iterator[_Raw]:
    if unit.path:
        with open_unpacked(unit.path) as file:
            yield unit.name, 0, file.read()
        return
    offset = unit.offset
    for part in unit.data.split(separator) if separator else [unit.data]:
        stripped = part.strip(b"\r\n") if separator else part
        yield unit.name, offset + part.find(stripped), stripped
        offset += len(part) + len(separator)


def _read_jsonl(unit: Unit, field: str) -> Iterator[_Raw]:
    offset = unit.offset
    for number, line in enumerate(unit.data.split(b"\n"), unit.first_line):
        if line and not line.isspace():
            where = f"{unit.name}, line {number:,}"
            yield where, offset, _field(where, line, field)
        offset += len(line) + 1


def _field(where: str, line: bytes, field: str) -> bytes | str | BadDocument:
    expected = f"{where}: expected a JSON object with its text in {field!r}"
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        return line  # whose decoding will name the byte
    except (ValueError, RecursionError) as error:  # a JSONDecodeError, or a number of thousands of digits
        return BadDocument(f"{expected}, found {error}; {SKIP_REMEDY}", "bad JSON line")
    value = record.get(field) if isinstance(record, dict) else None
    if isinstance(value, str):
        return value
    names = ", ".join(record) or "no field" if isinstance(record, dict) else type(record).__name__
    return BadDocument(f"{expected}, found {names}; name the field with --text-field", "no text field")


def _decode(where: str, offset: int, raw: bytes | str | BadDocument) -> str | BadDocument:
    """A document's text, or what is wrong with it; `offset` is where it starts in the unpacked file."""
    try:
        if isinstance(raw, bytes):
            return raw.decode()
        if isinstance(raw, str):
            raw.encode()  # JSON can hold what UTF-8 cannot
        return raw
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at offset {offset + error.start:,}"
        return BadDocument(f"{where}: expected UTF-8, found {found}; {SKIP_REMEDY}", "invalid UTF-8")
    except UnicodeEncodeError as error:
        found = f"the lone surrogate U+{ord(error.object[error.start]):04X} at character {error.start:,}"
        return BadDocument(f"{where}: expected Unicode text, found {found}; {SKIP_REMEDY}", "lone surrogate")
