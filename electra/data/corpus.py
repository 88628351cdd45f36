"""Read documents from OpenWebText archives, text files, JSONL files and folders; nothing is unpacked to disk.

A *unit* is a piece of input that one process can read alone: a file, a member of an archive, some lines of a JSONL
file. `list_units` walks the sources in a fixed order; `read_unit` yields the documents of one unit.

| name ends in | read as |
|---|---|
| `.txt` | one document, or several with a document separator |
| `.jsonl`, `.ndjson` | one JSON object a line |
| `.tar`, `.tar.gz`, `.tar.bz2`, `.tar.xz` | an archive of files named as in this table |
| only `.xz`, as in `urlsf_subset00-1_data.xz` | an xz-compressed *tar*, despite its name |

Text and JSONL may be compressed as `.gz`, `.bz2` or `.xz`. Upper and lower case make no difference in these names. Left
out and counted: files with other names, special files, files that were read before, and links inside an archive.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from electra.data import archives
from electra.data.archives import OPENERS, PACKED_TARS, BadDocument, Member, Readable, read_document, read_tar, unpack
from electra.files import FormatError, unique_keys

BLOCK_BYTES = 32 << 20  # bytes of text in one task of a worker, and in one shard
_PACKING_RATIO = 3  # rough number of bytes of text in one compressed byte
ENDINGS = ".txt, .jsonl, .tar (each also compressed as .gz, .bz2 or .xz) or OpenWebText's .xz"
_KINDS = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tar": "tar"}


class Unit(NamedTuple):
    """A piece of input that one process can read alone."""

    name: str  # shown in messages
    content: Path | bytes | BadDocument | str  # file, its bytes, error (unreadable) or reason (left out)
    size: int = 0  # bytes of text; an estimate if compressed
    kind: str = ""  # "text", "jsonl" or "archive" (a compressed tar)
    packing: str = ""  # compression of `content`, as a suffix such as ".gz"
    offset: int = 0  # where `content` begins in the uncompressed file, in bytes
    first_line: int = 1  # line number in the uncompressed file at which `content` begins


@dataclasses.dataclass
class Tally:
    """How many things were left out, and how many document separators were found."""

    left_out: Counter[str] = dataclasses.field(default_factory=Counter)  # reason: number of things left out
    first: dict[str, str] = dataclasses.field(default_factory=dict)  # reason: the first place where it occurred
    num_separators: int = 0

    def leave_out(self, reason: str, where: str) -> None:
        """Count one thing that is left out because of `reason`."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, where)

    def add(self, later: Tally) -> None:
        """Add the tally of later units; if a reason is in both tallies, its `first` place is the one of this tally."""
        self.left_out += Counter(later.left_out)
        self.first = later.first | self.first
        self.num_separators += later.num_separators


def kind_of(name: str) -> tuple[str, str]:
    """Return two strings for a file name: `Unit.kind` or "tar" ("" if it is not read), and the compression's suffix."""
    base, packing = os.path.splitext(name.lower())
    if packing in PACKED_TARS:
        base, packing = base + ".tar", PACKED_TARS[packing]
    elif packing not in OPENERS:
        base, packing = name.lower(), ""
    return _KINDS.get(os.path.splitext(base)[1], "archive" if packing == ".xz" else ""), packing


def find_files(sources: Sequence[Path]) -> Iterator[tuple[Path, str | BadDocument]]:
    """Yield each file, and why it is left out or cannot be read ("" if it is read); a folder is read in name order.

    A file or folder is read once, even if several names, links or sources lead to it. Inside a folder, names that begin
    with "." are left out. Raises FileNotFoundError if a source does not exist, FormatError if its ending is unknown.
    """
    seen: set[tuple[int, int]] = set()
    for source in sources:
        source.stat()  # raises FileNotFoundError
        if source.is_file() and not kind_of(source.name)[0]:
            raise FormatError(f"{source}: expected a name that ends in {ENDINGS}; rename it")
        waiting = [source]
        while waiting:
            path = waiting.pop()
            if path != source and path.name.startswith("."):  # .git, .ipynb_checkpoints and their like
                yield path, "hidden"
                continue
            try:
                status = path.stat()
                is_new = (status.st_dev, status.st_ino) not in seen
                seen.add((status.st_dev, status.st_ino))
                is_folder = path.is_dir()
                if is_folder and is_new:
                    waiting += [path / name for name in sorted(os.listdir(path), reverse=True)]
                elif not is_folder and not kind_of(path.name)[0]:
                    yield path, "name not read"
                elif not is_new:
                    yield path, "read already"
                else:
                    yield path, "" if path.is_file() else "special file"
            except OSError as error:  # a link that leads nowhere or to itself, a folder without permission
                yield path, BadDocument(str(path), "unreadable", str(error.strerror))


def text_size(path: Path) -> int:
    """Return the number of bytes of text in a file; an estimate if the file or its content is compressed."""
    kind, packing = kind_of(path.name)
    first = next(list_units([path]), None) if kind == "tar" else None
    is_packed = packing or (first and first.packing)
    return path.stat().st_size * (_PACKING_RATIO if is_packed else 1)


def list_units(sources: Sequence[Path], *, document_separator: str = "") -> Iterator[Unit]:
    """List the units of files and folders, in an order that depends only on their names and content.

    A file that is left out or cannot be read is a unit too: `read_unit` counts the file or raises its error.
    """
    for path, problem in find_files(sources):
        if problem:
            yield Unit(str(path), problem)
        else:
            yield from _list_file(path, str(path), document_separator)


def _list_file(source: Any, where: str, separator: str, *, opens_archive: bool = False) -> Iterator[Unit]:
    """List the units of a path, bytes or tar member. An `.xz` tar is one unit, unless it is a long tar member."""
    kind, packing = kind_of(where)
    size = source.size if isinstance(source, Member) else source.stat().st_size if isinstance(source, Path) else 0
    opens_archive = opens_archive or (isinstance(source, Member) and size > BLOCK_BYTES)
    try:
        if kind == "tar" or (kind == "archive" and opens_archive):
            with unpack(source, packing, where) as file:
                for name, reason, member in read_tar(file, where):
                    place, reason = f"{where}:{name}", reason if kind_of(name)[0] else "name not read"
                    yield from [Unit(place, reason)] if reason else _list_file(member, place, separator)
        elif kind == "jsonl" or (kind == "text" and separator):
            with unpack(source, packing, where) as file:
                yield from _cut(file, where, kind, _pattern(separator if kind == "text" else "\n"))
        else:
            content = source if isinstance(source, Path) else read_document(source, where)
            yield Unit(where, content, size * (_PACKING_RATIO if packing else 1), kind, packing)
    except BadDocument as damage:
        if damage.where != where:  # the archive that contains this file is damaged
            raise
        yield Unit(where, damage)


def _pattern(separator: str) -> re.Pattern[bytes]:
    """Return a pattern that matches a separator, also where the text has Windows line ends (\\r\\n)."""
    pattern = rb"\r?\n".join(map(re.escape, separator.encode().split(b"\n")))
    return re.compile(pattern.removeprefix(rb"\r?"))  # 20 times as fast; the callers strip a \r before it


def _cut(file: Readable, where: str, kind: str, separator: re.Pattern[bytes]) -> Iterator[Unit]:
    """Cut a file into units of about `BLOCK_BYTES`; each unit ends at the end of a document."""
    data, offset, line = b"", 0, 1  # offset, line: of the first byte of `data` in the file
    is_dropping = False  # whether `data` begins within a document that is too long
    is_last, damage = False, None
    while not is_last:
        blocks, num_read = [data], 0
        try:
            while not is_last and num_read < BLOCK_BYTES:
                blocks.append(file.read(archives.READ_BYTES))
                num_read += len(blocks[-1])
                is_last = not blocks[-1]
        except BadDocument as error:  # the documents before the damage are good
            is_last, damage = True, error
        data = b"".join(blocks)
        matches = [match.span() for match in separator.finditer(data)]
        stop, end = matches[-1] if matches else (0, 0)
        if is_last and not damage:
            stop = end = len(data)
        start = 0 if not is_dropping else matches[0][1] if matches else len(data)
        if start < stop:
            first_line = line + data.count(b"\n", 0, start)
            yield Unit(where, data[start:stop], stop - start, kind, "", offset + start, first_line)
        is_dropping = is_dropping and not matches
        if not (matches or is_last) and len(data) > archives.MAX_DOCUMENT_BYTES:
            if not is_dropping:
                yield Unit(where, archives.too_long(f"{where}, offset {offset:,}"))
            is_dropping, end = True, len(data) - archives.READ_BYTES  # the rest may hold the start of a separator
        data, offset, line = data[end:], offset + end, line + data.count(b"\n", 0, end)
    if damage:
        raise damage


def read_unit(
    unit: Unit, tally: Tally, *, skip_bad: bool = False, text_field: str = "text", document_separator: str = ""
) -> Iterator[str]:
    """Yield the documents of one unit, without byte order marks.

    Documents that are empty or only white space are left out. `tally` counts everything that is left out.

    Raises:
        BadDocument: a document cannot be read, and `skip_bad` is False.
    """
    for where, text in _documents(unit, tally, text_field, document_separator):
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


def _documents(unit: Unit, tally: Tally, text_field: str, separator: str) -> Iterator[tuple[str, str | BadDocument]]:
    """Yield two things for each document of a unit: its place, to print in messages, and its text or its read error."""
    content: Any = unit.content
    if isinstance(content, str):
        tally.leave_out(content, unit.name)
    elif isinstance(content, BadDocument):
        yield unit.name, content
    elif unit.kind == "archive":
        for part in _list_file(content, unit.name, separator, opens_archive=True):
            yield from _documents(part, tally, text_field, separator)
    elif unit.kind == "jsonl":
        offset = unit.offset
        for number, line in enumerate(content.split(b"\n"), unit.first_line):
            if line and not line.isspace():
                where = f"{unit.name}, line {number:,}"
                text = _decode(where, offset, line)
                yield where, text if isinstance(text, BadDocument) else _field(where, text, text_field)
            offset += len(line) + 1
    elif separator:
        tally.num_separators += unit.offset > 0  # the separator just before this unit
        start = 0
        for match in [*_pattern(separator).finditer(content), None]:
            tally.num_separators += match is not None
            part = content[start : match.start() if match else None]
            stripped = part.strip(b"\r\n")
            yield unit.name, _decode(unit.name, unit.offset + start + part.find(stripped), stripped)
            start = match.end() if match else 0
    else:
        try:
            with unpack(content, unit.packing, unit.name) as file:
                yield unit.name, _decode(unit.name, 0, read_document(file, unit.name))
        except BadDocument as damage:
            yield unit.name, damage


def _field(where: str, line: str, field: str) -> str | BadDocument:
    """Return the text in one field of a line of JSON, or an error if it has no such text."""
    try:
        record = json.loads(line.lstrip("\ufeff"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
        return BadDocument(where, "bad JSON line", str(error))
    text = record.get(field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        detail = f"expected an object with text in {field!r}, found {line:.100}"
        return BadDocument(where, "no text field", detail, "name the field with --text-field")
    try:
        text.encode()  # JSON can hold characters that UTF-8 cannot
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X} at character {error.start:,} is not Unicode text"
        return BadDocument(where, "lone surrogate", found)
    return text


def _decode(where: str, offset: int, data: bytes) -> str | BadDocument:
    """Return the text of UTF-8 bytes, or the error; `offset` is where `data` begins in the uncompressed file."""
    try:
        text = data.decode()
        if 0 not in data:
            return text
        place = data.index(0)
    except UnicodeDecodeError as error:
        place = error.start
    found = f"byte 0x{data[place]:02x} at offset {offset + place:,}{' (UTF-16?)' if 0 in data else ''}"
    return BadDocument(where, "invalid UTF-8", found, "convert it to UTF-8")
