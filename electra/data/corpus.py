"""Documents out of files: OpenWebText archives, folders of text, JSONL; packed or not, never unpacked to disk.

A *unit* is a piece of input that one process can read alone: a file, a member of an archive, some lines of a JSONL
file. `list_units` walks the sources in a fixed order, `read_unit` yields a unit's documents.

| name ends in | read as |
|---|---|
| `.txt` | one document, or several with a document separator |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz` | an archive of files named as in this table |
| `.xz` alone, as in `urlsf_subset00-1_data.xz` | an xz-compressed *tar*, despite its name |

Text and JSONL may be packed as `.gz`, `.bz2` or `.xz`. Upper and lower case are the same in these names. In folders
and archives every other name is left out and counted; so are links to what is read already, and special files.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from electra.data import archives
from electra.data.archives import OPENERS, PACKED_TARS, SKIP_REMEDY, BadDocument, Member, read_document, unpack
from electra.files import FormatError

BLOCK_BYTES = 32 << 20  # text that a worker is handed in one go
_READ_BYTES = 1 << 20
_PACKING_RATIO = 3  # text bytes that a packed byte stands for, roughly
_KINDS = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tar": "tar"}
_JSON_TYPES = {"NoneType": "null", "dict": "an object", "list": "a list", "bool": "true or false", "str": "text"}


class Unit(NamedTuple):
    """A piece of input that one process can read alone."""

    name: str  # where it comes from, for messages
    kind: str  # "text", "jsonl", "archive" (a packed tar), "documents", "damaged" or "left out"
    size: int  # bytes of text, roughly when packed
    path: Path | None = None  # the file, or else
    data: bytes = b""  # its content
    packing: str = ""  # of the file or the content
    offset: int = 0  # where `data` starts in the unpacked file
    first_line: int = 1  # likewise, for JSONL
    documents: tuple[str, ...] = ()  # of a unit made in memory
    damage: BadDocument | None = None  # why it, or the rest of a file, cannot be read
    reason: str = ""  # why it is left out


@dataclasses.dataclass
class Tally:
    """What reading met beside documents."""

    left_out: Counter[str] = dataclasses.field(default_factory=Counter)  # how often for each reason
    first: dict[str, str] = dataclasses.field(default_factory=dict)  # where each reason was met first
    num_separators: int = 0

    def leave_out(self, reason: str, where: str) -> None:
        """Count one thing that is left out."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, where)

    def add(self, later: Tally) -> None:
        """Add what was met later."""
        self.left_out += Counter(later.left_out)
        self.first = {**later.first, **self.first}
        self.num_separators += later.num_separators


def kind_of(name: str) -> tuple[str, str]:
    """What a file name promises: its kind ("" when it is not read) and the suffix of its packing."""
    base, packing = os.path.splitext(name.lower())
    if packing in PACKED_TARS:
        base, packing = base + ".tar", PACKED_TARS[packing]
    elif packing not in OPENERS:
        base, packing = name.lower(), ""
    return _KINDS.get(os.path.splitext(base)[1], "archive" if packing == ".xz" else ""), packing


def find_files(sources: Sequence[Path]) -> Iterator[tuple[Path, str | BadDocument]]:
    """Every file of the sources, folders by name, and why it is left out or cannot be read ("" if it can).

    A file or folder is read once, however many names, links or sources lead to it. That is remembered by device and
    inode, in about 150 bytes each.

    Raises:
        FileNotFoundError: there is no such source.
        FormatError: a source is neither a folder nor a file of text.
    """
    seen: set[tuple[int, int]] = set()
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source}: expected a file or a folder of text, found nothing; check the path")
        if source.is_file() and not kind_of(source.name)[0]:
            expected = ".txt, .jsonl, .tar (each also packed as .gz, .bz2 or .xz) or OpenWebText's .xz"
            raise FormatError(f"{source}: expected a name that ends in {expected}, found {source.name}; rename it")
        if not source.is_file() and not source.is_dir():
            raise FormatError(
                f"{source}: expected a file or a folder of text, found a device or pipe; write it to a file"
            )
        waiting = [source]
        while waiting:
            path = waiting.pop()
            try:
                status = path.stat()
                is_new = (status.st_dev, status.st_ino) not in seen
                seen.add((status.st_dev, status.st_ino))
                if stat.S_ISDIR(status.st_mode) and is_new:
                    waiting += [path / name for name in sorted(os.listdir(path), reverse=True)]
                elif not stat.S_ISDIR(status.st_mode) and not kind_of(path.name)[0]:
                    yield path, "name not read"
                elif not is_new:
                    yield path, "read already"
                else:
                    yield path, "" if stat.S_ISREG(status.st_mode) else "special file"
            except OSError as error:  # a link that leads nowhere or to itself, a folder that is closed to us
                message = f"{path}: expected a readable file or folder, found {error.strerror}; {SKIP_REMEDY}"
                yield path, BadDocument(message, "unreadable")


def text_size(path: Path) -> int:
    """About how many bytes of text a file holds; exact when nothing is packed."""
    kind, packing = kind_of(path.name)
    is_packed = bool(packing)
    if kind == "tar" and not packing:
        is_packed = any(unit.packing for unit in itertools.islice(list_units([path]), 1))
    return path.stat().st_size * (_PACKING_RATIO if is_packed else 1)


def list_units(sources: Sequence[Path], *, document_separator: str = "") -> Iterator[Unit]:
    """The units of files and folders, in an order that depends on nothing but their names and content.

    What is left out and what cannot be read become units too, which `read_unit` counts or reports.
    """
    for path, problem in find_files(sources):
        if problem:
            yield _unread(str(path), problem)
        else:
            yield from _list_file(path, str(path), document_separator)


def _unread(where: str, problem: str | BadDocument) -> Unit:
    if isinstance(problem, BadDocument):
        return Unit(where, "damaged", 0, damage=problem)
    return Unit(where, "left out", 0, reason=problem)


def _list_file(source: Path | Member, where: str, separator: str) -> Iterator[Unit]:
    """The units of a file, or of a file in a tar."""
    kind, packing = kind_of(where)
    size = source.stat().st_size if isinstance(source, Path) else source.size
    try:
        if kind == "tar" or (kind == "archive" and isinstance(source, Member) and size > BLOCK_BYTES):
            with unpack(source, packing, where) as file:
                yield from _list_archive(file, where, separator)
        elif kind == "jsonl" or (kind == "text" and separator):
            with unpack(source, packing, where) as file:
                yield from _cut(file, where, kind, _pattern(separator if kind == "text" else "\n"))
        else:
            data = b"" if isinstance(source, Path) else read_document(source, where)
            text_bytes = size * (_PACKING_RATIO if packing else 1)
            yield Unit(where, kind, text_bytes, source if isinstance(source, Path) else None, data, packing)
    except BadDocument as damage:
        yield _unread(where, damage)


def _list_archive(file: IO[bytes], where: str, separator: str) -> Iterator[Unit]:
    for name, reason, member in archives.read_tar(file, where):
        if not kind_of(name)[0]:
            reason = "name not read"
        if reason:
            yield _unread(f"{where}:{name}", reason)
        else:
            yield from _list_file(member, f"{where}:{name}", separator)


def _pattern(separator: str) -> re.Pattern[bytes]:
    """What stands for a separator in a file: Windows line ends count as line ends."""
    pattern = rb"\r?\n".join(map(re.escape, separator.encode().split(b"\n")))
    return re.compile(pattern.removeprefix(rb"\r?"))  # 20 times as fast; readers drop what is left before it


def _cut(file: IO[bytes], where: str, kind: str, separator: re.Pattern[bytes]) -> Iterator[Unit]:
    """Cut a long file into units of about `BLOCK_BYTES`, each ending where a document does."""
    offset, line, parts, size = 0, 1, [b""], 0  # of what is not handed out yet
    is_dropping = False  # whether it begins within a document that is too long
    is_last, damage = False, None
    while not is_last:
        try:
            block = file.read1(_READ_BYTES)  # type: ignore[attr-defined]
        except BadDocument as error:  # what precedes it is good
            block, damage = b"", error
        is_last = not block
        parts.append(block)
        size += len(block)
        if size < BLOCK_BYTES and not is_last:
            continue
        data = b"".join(parts)
        matches = [match.span() for match in separator.finditer(data)]
        start = 0 if not is_dropping else matches[0][1] if matches else len(data)
        stop, keep = matches[-1] if matches else (0, 0)
        if is_last and not damage:
            stop = keep = len(data)
        if start < stop:
            yield Unit(
                where,
                kind,
                stop - start,
                None,
                data[start:stop],
                "",
                offset + start,
                line + data.count(b"\n", 0, start),
            )
        is_dropping = is_dropping and not matches
        if not matches and not is_last and len(data) > archives.MAX_DOCUMENT_BYTES:
            if not is_dropping:
                yield _unread(where, archives.too_long(f"{where}, offset {offset:,}"))
            is_dropping, keep = True, len(data) - _READ_BYTES  # which may hold the start of a separator
        offset, line = offset + keep, line + data.count(b"\n", 0, keep)
        parts, size = [data[keep:]], 0
    if damage:
        raise damage


def read_unit(
    unit: Unit, tally: Tally, *, skip_bad: bool = False, text_field: str = "text", document_separator: str = ""
) -> Iterator[str]:
    """The documents of one unit. What is left out is counted in `tally` by reason, empty documents always.

    A document is empty when it has no visible character. A byte order mark before it is no text.

    Raises:
        BadDocument: a document cannot be read, and `skip_bad` is off.
    """
    for where, offset, raw in _raw_documents(unit, tally, text_field, document_separator):
        text = _decode(where, offset, raw)
        if isinstance(text, BadDocument):
            if not skip_bad:
                raise text
            tally.leave_out(text.reason, where)
            continue
        if text.startswith("\ufeff"):
            tally.leave_out("byte order mark", where)
            text = text.lstrip("\ufeff")
        if not text or text.isspace():
            tally.leave_out("empty", where)
        else:
            yield text


_Raw = tuple[str, int, "bytes | str | BadDocument"]  # where, its offset in the file, content or what is wrong with it


def _raw_documents(unit: Unit, tally: Tally, text_field: str, separator: str) -> Iterator[_Raw]:
    """A unit's documents as they lie there; damage comes last."""
    tally.num_separators += unit.kind == "text" and unit.offset > 0  # which ended where one stood
    try:
        if unit.damage:
            raise unit.damage
        if unit.reason:
            tally.leave_out(unit.reason, unit.name)
        elif unit.kind == "documents":
            yield from ((f"document {n:,}", 0, text) for n, text in enumerate(unit.documents, 1))
        elif unit.kind == "archive":
            with unpack(unit.path or io.BytesIO(unit.data), unit.packing, unit.name) as file:
                for part in _list_archive(file, unit.name, separator):
                    yield from _raw_documents(part, tally, text_field, separator)
        elif unit.kind == "jsonl":
            yield from _read_jsonl(unit, text_field)
        elif separator:
            yield from _read_parts(unit, tally, separator)
        else:
            with unpack(unit.path or io.BytesIO(unit.data), unit.packing, unit.name) as file:
                yield unit.name, 0, read_document(file, unit.name)
    except BadDocument as damage:
        yield unit.name, 0, damage


def _read_parts(unit: Unit, tally: Tally, separator: str) -> Iterator[_Raw]:
    start = 0
    for match in [*_pattern(separator).finditer(unit.data), None]:
        tally.num_separators += match is not None
        part = unit.data[start : match.start() if match else None]
        stripped = part.strip(b"\r\n")
        yield unit.name, unit.offset + start + part.find(stripped), stripped
        start = match.end() if match else 0


def _read_jsonl(unit: Unit, field: str) -> Iterator[_Raw]:
    offset = unit.offset
    for number, line in enumerate(unit.data.split(b"\n"), unit.first_line):
        if line and not line.isspace():
            where = f"{unit.name}, line {number:,}"
            yield where, offset, _field(where, offset, line, field)
        offset += len(line) + 1


def _field(where: str, offset: int, line: bytes, field: str) -> str | BadDocument:
    text = _decode(where, offset, line)
    if isinstance(text, BadDocument):
        return text
    expected = f"{where}: expected a JSON object with its text in {field!r}"
    try:
        record = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:  # a JSONDecodeError, or a number of thousands of digits
        return BadDocument(f"{expected}, found {error}; {SKIP_REMEDY}", "bad JSON line")
    value = record.get(field) if isinstance(record, dict) else record
    if isinstance(record, dict) and isinstance(value, str):
        return value
    if isinstance(record, dict) and field not in record:
        names = ", ".join(map(str, record))
        found = f"the fields {names[:200]}{'...' * (len(names) > 200)}" if names else "no field"
        return BadDocument(f"{expected}, found {found}; name the field with --text-field", "no text field")
    found = _JSON_TYPES.get(type(value).__name__, "text" if isinstance(value, str) else "a number")
    return BadDocument(
        f"{expected}, found {found}{' there' * isinstance(record, dict)}; {SKIP_REMEDY}", "no text field"
    )


def _decode(where: str, offset: int, raw: bytes | str | BadDocument) -> str | BadDocument:
    """A document's text, or what is wrong with it; `offset` is where it starts in the unpacked file."""
    try:
        if isinstance(raw, bytes):
            text = raw.decode()
            if "\0" in text:
                found = f"a zero byte at offset {offset + raw.index(0):,}, as in UTF-16 or a file that is no text"
                return BadDocument(f"{where}: expected UTF-8, found {found}; {SKIP_REMEDY}", "zero byte")
            return text
        if isinstance(raw, str):
            raw.encode()  # JSON can hold what UTF-8 cannot
        return raw
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at offset {offset + error.start:,}"
        found += " (the file looks like UTF-16)" * error.object.startswith((b"\xff\xfe", b"\xfe\xff"))
        return BadDocument(f"{where}: expected UTF-8, found {found}; {SKIP_REMEDY}", "invalid UTF-8")
    except UnicodeEncodeError as error:
        found = f"the lone surrogate U+{ord(error.object[error.start]):04X} at character {error.start:,}"
        return BadDocument(f"{where}: expected Unicode text, found {found}; {SKIP_REMEDY}", "lone surrogate")
