"""Packed files and tar archives, read forward only; damage is named by file and offset, never passed over."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from electra.files import FormatError

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED_TARS = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}  # short suffixes, and what they are packed as
SKIP_REMEDY = "repair it, or pass --skip-bad-documents to count it and go on"
_DAMAGE = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


class BadDocument(FormatError):
    """A document, or the rest of a file, cannot be read. `reason` is what a summary counts it under."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadDocument], tuple[str, str]]:
        return BadDocument, (self.args[0], self.reason)


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading what it holds once unpacked; its suffix says how it is packed."""
    return OPENERS.get(PACKED_TARS.get(path.suffix, path.suffix), open)(path, "rb")


@contextlib.contextmanager
def naming_damage(where: str, packed_bytes: int) -> Iterator[None]:
    """Turn a decompressor's complaint into a `BadDocument` that names the file."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and (error.errno is not None or isinstance(error, BadDocument)):
            raise  # the disk's complaint; bz2's own has no number
        found = f"its end at byte {packed_bytes:,}" if isinstance(error, EOFError) else f"damage ({error})"
        message = f"{where}: expected a whole compressed file, found {found}; {SKIP_REMEDY}"
        raise BadDocument(message, "damaged archive") from None


def read_tar(file: IO[bytes], where: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's regular files, in order.

    Stricter than `tarfile`, which takes a damaged header after the first for the end of the archive.

    Raises:
        BadDocument: a header is damaged or the archive ends early.
        EOFError: likewise, from the decompressor; wrap the loop in `naming_damage`.
    """
    offset, long_name = 0, ""
    while (header := _read_exactly(file, tarfile.BLOCKSIZE, where, offset)) != bytes(tarfile.BLOCKSIZE):
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _bad_tar(where, "a tar header", f"{error} at offset {offset:,}") from None
        padded = -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        content = _read_exactly(file, padded, where, offset + tarfile.BLOCKSIZE)[: member.size]
        offset += tarfile.BLOCKSIZE + padded
        if member.type == tarfile.GNUTYPE_LONGNAME:
            long_name = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif member.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            long_name = _pax_path(content)
        else:
            if member.isreg():
                yield long_name or member.name, content
            long_name = ""
    while file.read(1 << 20):  # on to the end, where a decompressor checks what it has read
        pass


def _read_exactly(file: IO[bytes], size: int, where: str, offset: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _bad_tar(where, "a whole tar archive", f"its end at offset {offset + len(data):,}")
    return data


def _bad_tar(where: str, expected: str, found: str) -> BadDocument:
    return BadDocument(f"{where}: expected {expected}, found {found}; {SKIP_REMEDY}", "damaged archive")


def _pax_path(records: bytes) -> str:
    """The member's name in a pax header, "" when it has none."""
    for record in records.decode("utf-8", "surrogateescape").split("\n"):
        key, _, value = record.partition("=")
        if key.endswith(" path"):
            return value
    return ""
