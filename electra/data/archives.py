"""Compressed files and tar archives, read forward only. Damage is an error that names the file, never a silent end."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from electra.files import FormatError

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED_TARS = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}  # short suffix: suffix of the compression
MAX_DOCUMENT_BYTES = 1 << 28  # 256 MiB; a longer text is a file that nobody has cut into documents
READ_BYTES = 1 << 20
_MAX_NAME_BYTES = 1 << 20  # of a long file name in a tar


class BadDocument(FormatError):
    """A document, or the rest of a file, that cannot be read.

    Attributes:
        where: the file, and the line if there is one.
        reason: the kind of problem; the summary counts by reason.
    """

    def __init__(self, where: str, reason: str, detail: str, remedy: str = "repair it") -> None:
        super().__init__(where, reason, detail, remedy)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        where, reason, detail, remedy = self.args
        return f"{where}: {reason}: {detail}; {remedy}, or pass --skip-bad-documents to count it and go on"


def too_long(where: str) -> BadDocument:
    """The error for a document of more than `MAX_DOCUMENT_BYTES`."""
    detail = f"more than {MAX_DOCUMENT_BYTES >> 20} MiB in one document"
    return BadDocument(where, "too long", detail, "cut it with --document-separator")


class Readable(Protocol):
    """A source of bytes that is read forward."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""


class _Packed:
    """A compressed file, which remembers whether its decompressor has reached the end."""

    def __init__(self, file: Readable) -> None:
        self._file, self.is_at_end = file, False

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.is_at_end = not data
        return data


class _Unpacked:
    """The content of a compressed file. Data that precede damage are returned before the error."""

    def __init__(self, file: Readable, packing: str, where: str) -> None:
        self._packed, self._where = _Packed(file), where
        self._file = OPENERS[packing](self._packed)

    def read(self, size: int) -> bytes:
        with _naming_damage(self._where):
            data: bytes = self._file.read1(size)
            if not data and not self._packed.is_at_end:  # lzma and bz2 ignore such bytes without an error
                raise EOFError("other bytes follow the compressed data")
        return data


@contextlib.contextmanager
def _naming_damage(where: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        reason = "unreadable" if getattr(error, "errno", None) else "damaged archive"
        raise BadDocument(where, reason, str(getattr(error, "strerror", None) or error)) from None


@contextlib.contextmanager
def unpack(source: Path | bytes | Readable, packing: str, where: str) -> Iterator[Readable]:
    """Open a file for reading its uncompressed content; `packing` is a key of `OPENERS`, or "".

    A file that cannot be opened or, later, decompressed raises a BadDocument that names `where`.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path):
            with _naming_damage(where):
                source = stack.enter_context(open(source, "rb"))
        elif isinstance(source, bytes):
            source = io.BytesIO(source)
        yield _Unpacked(source, packing, where) if packing else source


def read_document(file: Readable, where: str) -> bytes:
    """Read the rest of a file. More than `MAX_DOCUMENT_BYTES` raise a `BadDocument`."""
    parts, size = [], 0
    while block := file.read(READ_BYTES):
        size += len(block)
        if size > MAX_DOCUMENT_BYTES:
            raise too_long(where)
        parts.append(block)
    return b"".join(parts)


class _Header(tarfile.TarInfo):
    """A tar header. A damaged one is an error; `tarfile` alone treats it as the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            header = super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise ValueError(str(error)) from None
        if header.size < 0 or (header.size > _MAX_NAME_BYTES and not header.isreg()):
            raise ValueError(f"header with a size of {header.size:,} bytes")
        return header


class Member:
    """The content of one file in a tar archive, read while the archive is at that file."""

    def __init__(self, archive: Readable, size: int, where: str) -> None:
        self._archive, self._where = archive, where
        self.size = self._num_left = size

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end of this file."""
        data = self._archive.read(min(size, self._num_left))
        if self._num_left and not data:
            raise BadDocument(self._where, "damaged archive", "the tar ends within a file")
        self._num_left -= len(data)
        return data


def read_tar(file: Readable, where: str) -> Iterator[tuple[str, str, Member]]:
    """Read a tar archive, and the tar archives that follow it in the same file.

    Yields:
        The name of each file, why it is not read ("" if it is), and its content.

    Raises:
        BadDocument: a header is damaged, the archive ends early, or other bytes follow it.
    """
    end = 0  # of the last file
    try:
        archive: Any = tarfile.open(fileobj=file, mode="r|", tarinfo=_Header, ignore_zeros=True)  # type: ignore[call-overload]  # noqa: SIM115
        while header := archive.next():
            end = archive.offset
            archive.members.clear()  # which would grow with the archive
            if not header.isdir():
                is_read = header.isreg() and not header.issparse()
                reason = "" if is_read else "link in a tar" if header.islnk() or header.issym() else "special file"
                member = Member(archive.fileobj, header.size if is_read else 0, where)
                yield header.name, reason, member
                while member.read(READ_BYTES):
                    pass
        if archive.offset == end:
            raise ValueError("no end mark")
    except BadDocument:
        raise
    except (tarfile.TarError, ValueError) as error:
        raise BadDocument(where, "damaged archive", f"{error}, after offset {end:,} of the tar") from None
