"""Read compressed files and tar archives from start to end. A damaged file raises an error that names the file."""

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
MAX_DOCUMENT_BYTES = 1 << 28  # 256 MiB; a longer text is probably a whole file that was not cut into documents
READ_BYTES = 1 << 20
_MAX_NAME_BYTES = 1 << 20  # longest file name in a tar


class BadDocument(FormatError):
    """A document, or the rest of a file, that cannot be read.

    Attributes:
        where: the file, and the line number if the file has lines.
        reason: the kind of problem; the summary that `prepare` prints has a count for each reason.
    """

    def __init__(self, where: str, reason: str, detail: str, remedy: str = "repair it") -> None:
        super().__init__(where, reason, detail, remedy)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        where, reason, detail, remedy = self.args
        return f"{where}: {reason}: {detail}; {remedy}, or pass --skip-bad-documents to count it and go on"


def too_long(where: str) -> BadDocument:
    """Return the error for a document of more than `MAX_DOCUMENT_BYTES`."""
    detail = f"more than {MAX_DOCUMENT_BYTES >> 20} MiB in one document"
    return BadDocument(where, "too long", detail, "cut it with --document-separator")


class Readable(Protocol):
    """A source of bytes that is read forward."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; no bytes at the end."""


class _Packed:
    """A compressed file; `is_at_end` says whether the decompressor has read all of its bytes."""

    def __init__(self, file: Readable) -> None:
        self._file, self.is_at_end = file, False

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.is_at_end = not data
        return data


class _Unpacked:
    """The content of a compressed file. The data before a damaged place are returned; then an error is raised."""

    def __init__(self, file: Readable, packing: str, where: str) -> None:
        self._packed, self._where = _Packed(file), where
        self._file = OPENERS[packing](self._packed)

    def read(self, size: int) -> bytes:
        with _naming_damage(self._where):
            data: bytes = self._file.read1(size)
            if not data and not self._packed.is_at_end:  # lzma and bz2 ignore extra bytes silently
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
    """Open a file for reading its uncompressed content; `packing` is a key of `OPENERS`, or "" if not compressed.

    Opening, or a later read, raises a BadDocument that names `where` if the file cannot be opened or decompressed.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(source, Path):
            with _naming_damage(where):
                source = stack.enter_context(open(source, "rb"))
        elif isinstance(source, bytes):
            source = io.BytesIO(source)
        yield _Unpacked(source, packing, where) if packing else source


def read_document(file: Readable, where: str) -> bytes:
    """Return the rest of a file as one document. Raise a BadDocument if it has more than `MAX_DOCUMENT_BYTES`."""
    parts, size = [], 0
    while block := file.read(READ_BYTES):
        size += len(block)
        if size > MAX_DOCUMENT_BYTES:
            raise too_long(where)
        parts.append(block)
    return b"".join(parts)


class _Header(tarfile.TarInfo):
    """A tar header. A damaged header is an error here; in `tarfile` a damaged header ends the archive silently."""

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
    """The content of one file in a tar archive. Read it before you ask the archive for the next file."""

    def __init__(self, archive: Readable, size: int, where: str) -> None:
        self._archive, self._where = archive, where
        self.size = self._num_left = size

    def read(self, size: int) -> bytes:
        """Return the next bytes of this file, at most `size`; no bytes at its end."""
        data = self._archive.read(min(size, self._num_left))
        if self._num_left and not data:
            raise BadDocument(self._where, "damaged archive", "the tar ends within a file")
        self._num_left -= len(data)
        return data


def read_tar(file: Readable, where: str) -> Iterator[tuple[str, str, Member]]:
    """Read a tar archive, and the tar archives that follow it in the same file.

    Yields:
        For each file: its name, the reason why it is not read ("" if it is read), and its content.

    Raises:
        BadDocument: a header is damaged, the archive ends early, or other bytes follow it.
    """
    end = 0  # offset in the archive after the last file
    try:
        archive: Any = tarfile.open(fileobj=file, mode="r|", tarinfo=_Header, ignore_zeros=True)  # type: ignore[call-overload]  # noqa: SIM115
        while header := archive.next():
            end = archive.offset
            archive.members.clear()  # this list would grow with the archive
            if not header.isdir():
                is_read = header.isreg() and not header.issparse()
                reason = "" if is_read else "link in a tar" if header.islnk() or header.issym() else "special file"
                member = Member(archive.fileobj, header.size if is_read else 0, where)
                yield header.name, reason, member
                while member.read(READ_BYTES):
                    pass
        if archive.offset == end:
            raise ValueError("the archive has no end mark")
    except BadDocument:
        raise
    except (tarfile.TarError, ValueError) as error:
        raise BadDocument(where, "damaged archive", f"{error}, after offset {end:,} of the tar") from None
