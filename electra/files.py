"""Reading and writing files: JSON that is checked, writes that are whole or absent, digests, folder locks."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import tempfile
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

MAX_JSON_BYTES = 64 << 20


class FormatError(ValueError):
    """A file is not what it claims to be. The message says where, what is wrong and what to do, in one line."""


def sha256_file(path: Path) -> str:
    """The hexadecimal SHA-256 digest of a file's bytes, read in 1 MiB blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file's name to an OSError raised inside; Python leaves it out when a write or a sync fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under `path` complete and on disk, or not at all.

    The bytes go to a temporary name in the same folder, are fsynced, and renamed; on any error the
    temporary file is removed and `path` keeps what it held.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    fsync_folder(path.parent)


def json_bytes(value: object) -> bytes:
    """A value as indented UTF-8 JSON that ends in a newline; half a surrogate pair is written as its escape."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Atomically write `value` as `json_bytes`."""
    with atomic_write(path) as file:
        file.write(json_bytes(value))


def read_json(path: Path, **fields: Any) -> dict[str, Any]:
    """Read a file that holds one JSON object, and check it.

    Args:
        fields: the type of each field the caller relies on: int, float (an int passes), str, bool, list, dict,
            list[str], dict[str, float], ... A field that may be absent or null has a type such as `str | None`.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is no UTF-8 JSON object (64 MiB at most, every number finite), or a field is missing or
            of another type. The message names the line or the field.
    """
    with open(path, "rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    try:
        return _parse(data, fields)
    except _Damage as error:
        raise FormatError(f"{path}: {error}; restore the file") from None


class DamagedLine(NamedTuple):
    """A line of a JSONL file that is not a JSON object with the fields asked for."""

    number: int  # from 1
    text: str  # its first 40 characters
    problem: str  # what was expected and what was found
    is_cut_short: bool  # the last line is incomplete: the process that wrote it was killed


def read_lines(path: Path, **fields: Any) -> tuple[list[dict[str, Any]], list[DamagedLine]]:
    """The objects of a JSONL file in order, and the lines that are none; empty lines are passed over.

    Args:
        fields: the type of each field the caller relies on, as for `read_json`.
    """
    records, damaged = [], []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if content := line.strip():
                    records.append(_parse(content, fields))
            except _Damage as error:
                text, is_cut_short = content[:40].decode(errors="replace"), error.may_be_cut and line[-1:] != b"\n"
                damaged.append(DamagedLine(number, text, str(error), is_cut_short))
    return records, damaged


def read_records(path: Path, **fields: Any) -> list[dict[str, Any]]:
    """`read_lines`, but a damaged line is an error, unless it is the last and cut short.

    Raises:
        FormatError: a line is damaged; it is named.
    """
    records, damaged = read_lines(path, **fields)
    for line in damaged:
        if not line.is_cut_short:
            raise FormatError(f"{path}:{line.number}: {line.problem}; restore or remove the line")
    return records


class _Damage(Exception):
    """What was expected of some JSON and what was found."""

    def __init__(self, expected: str, found: str, may_be_cut: bool = False) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.may_be_cut = may_be_cut  # the end of a whole record may be missing


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise _Damage("finite numbers", f"{text:.40}")
    return value


def _parse(data: bytes, fields: Mapping[str, Any]) -> dict[str, Any]:
    if len(data) > MAX_JSON_BYTES:
        raise _Damage(f"at most {MAX_JSON_BYTES >> 20} MiB of JSON", "more")
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError as error:
        raise _Damage("UTF-8 JSON", f"byte {error.start} undecodable", may_be_cut=True) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, " if b"\n" in data else ""
        found = f"{error.msg.removesuffix(' at')} at {place}column {error.colno}"
        raise _Damage("JSON", found, may_be_cut=True) from None
    except RecursionError:
        raise _Damage("JSON", "brackets nested too deeply") from None
    except ValueError:  # of int(), for thousands of digits
        raise _Damage("JSON", "a number of too many digits") from None
    if not isinstance(value, dict):
        raise _Damage("a JSON object", _brief(value))
    for name, kind in fields.items():
        if not _is_of(value.get(name), kind):
            expected = kind.__name__ if type(kind) is type else str(kind)
            raise _Damage(f"{expected} as {name!r}", _brief(value[name]) if name in value else "no such field")
    return value


def _brief(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return repr(value) if len(repr(value)) <= 40 else f"{value!r:.40}..."


def _is_of(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_is_of(value, one) for one in arguments)
    if origin in (list, dict):
        items = value.values() if isinstance(value, dict) else value
        return isinstance(value, origin) and all(_is_of(item, arguments[-1]) for item in items)
    if kind in (int, float) and type(value) is int:
        return abs(value) < 1 << 63
    return value is None if kind in (None, types.NoneType) else type(value) is kind


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process until the context ends, or this process does, however it does.

    Raises:
        FormatError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{folder}: expected a folder nobody is writing to, found it in use by another process"
            raise FormatError(f"{message}; wait for that one or choose another folder") from None
        yield
