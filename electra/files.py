"""Reading and writing files: checked JSON, files that are complete or absent, digests, folder locks."""

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
from typing import IO, Any

PRETRAINED = Path(__file__).parent / "pretrained"
SHIPPED = PRETRAINED / "mini"
"""The folder of the model that ships with this package; where a folder is asked for, its name is enough."""


class FormatError(ValueError):
    """Error: a file or folder has unexpected content. The message says where, what is wrong and what to do."""


def model_folder(path: Path) -> Path:
    """Return the folder of the shipped model that `path` names, or `path` if it exists or is no such name."""
    is_name = not path.exists() and path.name == str(path) and (PRETRAINED / path).is_dir()
    return PRETRAINED / path if is_name else path


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file's bytes, read in 1 MiB blocks."""
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
    """Add the file's name to an OSError raised in the `with` block; Python leaves it out if a write or sync fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file for writing; when the context ends, `path` is complete on disk, or unchanged after an error.

    The bytes go to a temporary file in the same folder, which is synced and then renamed to `path`. After an error the
    temporary file is removed.
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
    """Return a value as indented UTF-8 JSON that ends in a newline; a lone surrogate is written as an escape."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON; the file at `path` is complete or unchanged."""
    with atomic_write(path) as file:
        file.write(json_bytes(value))


def read_json(path: Path, **fields: Any) -> dict[str, Any]:
    """Read a file that holds one JSON object with finite numbers; raises FormatError for other content.

    `fields` are the types of the fields that the caller needs: int, float (an int passes), str, bool, list, dict,
    list[str], dict[str, float], ... A field that may be absent or null has a type such as `str | None`.
    """
    try:
        return _parse(path.read_bytes(), fields)
    except ValueError as error:
        raise FormatError(f"{path}: {error}; restore the file") from None


def read_records(path: Path, **fields: Any) -> list[dict[str, Any]]:
    """Read the objects of a JSONL file, in order; `fields` as in `read_json`.

    An incomplete last line is left out: its writer was killed. Any other damaged line raises FormatError.
    """
    records = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                if content := line.strip():
                    records.append(_parse(content, fields))
            except ValueError as error:
                if line.endswith(b"\n") or not isinstance(error, _NotJson):
                    raise FormatError(f"{path}:{number}: {error}; restore or remove the line") from None
    return records


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object (an `object_pairs_hook`); ValueError if a key is there twice, of which Python keeps one."""
    if len(record := dict(pairs)) < len(pairs):
        raise ValueError("a key twice")
    return record


class _NotJson(ValueError):
    """Error: the bytes are not JSON."""


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"expected finite numbers, found {text:.40}")
    return value


def _parse(data: bytes, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON object in some bytes. Raises ValueError; the caller adds file and line to its message."""
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_float=_finite, parse_constant=_finite)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, " if b"\n" in data else ""
        raise _NotJson(f"expected JSON, found {error.msg.removesuffix(' at')} at {place}column {error.colno}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise _NotJson(f"expected JSON, found {str(error)[:80]}") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found a {type(value).__name__}")
    for name, kind in fields.items():
        if not _is_of(value.get(name), kind):
            expected = kind.__name__ if type(kind) is type else str(kind)
            found = f"{value[name]!r:.40}" if name in value else "no such field"
            found = "a list" if isinstance(value.get(name), list) else found
            raise ValueError(f"expected {expected} as {name!r}, found {found}")
    return value


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value has the type `kind`; a list or dict is checked with its items."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return any(_is_of(value, one) for one in arguments)
    if origin in (list, dict):
        items = value.values() if isinstance(value, dict) else value
        return isinstance(value, origin) and all(_is_of(item, arguments[-1]) for item in items)
    if kind in (int, float) and type(value) is int:
        return abs(value) < 1 << 63
    return type(value) is kind


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for this process until the context or the process ends; FormatError if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "wait until it ends, or choose another folder"
            raise FormatError(f"{folder}: another process is using this folder; {remedy}") from None
        yield
