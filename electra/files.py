"""What every writer of this package needs: one error type, atomic writes, digests and folder locks."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


class FormatError(ValueError):
    """A file is not what it claims to be. The message says expected, found and remedy, in one line."""


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
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears under `path` complete and on disk, or not at all.

    The bytes go to a temporary name in the same folder, are fsynced, and renamed; on any error the
    temporary file is removed and `path` keeps what it held.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
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


def write_json(path: Path, value: object) -> None:
    """Atomically write `value` as indented UTF-8 JSON that ends in a newline."""
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is not UTF-8 JSON; the message names the line.
    """
    try:
        return json.loads(path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: expected UTF-8 JSON, found byte {error.start} undecodable; restore it") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"{path}: expected JSON, found {error.msg} at line {error.lineno}; restore it") from None


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
