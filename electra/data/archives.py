"""Packed files and tar archives, read forward only. Damage is named by file and place, never passed over."""

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
from typing import IO, Any, Protocol

from electra.files import FormatError

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED_TARS = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz"}  # short suffixes, and what they are packed as
MAX_DOCUMENT_BYTES = 1 << 28  # 256 MiB; a longer text is a file that nobody has cut into documents
SKIP_REMEDY = "repair it, or pass --skip-bad-documents to count it and go on"
_READ_BYTES = 1 << 20
_MAX_FILE_BYTES, _MAX_NAME_BYTES = 1 << 50, 1 << 20  # what a tar's header may promise: of content, of a long name


class BadDocument(FormatError):
    """A document, or the rest of a file, cannot be read. `reason` is what a summary counts it under."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadDocument], tuple[str, str]]:
        return BadDocument, (self.args[0], self.reason)


def too_long(where: str) -> BadDocument:
    """What is said of a document that is longer than `MAX_DOCUMENT_BYTES`."""
    expected = f"{where}: expected documents of up to {MAX_DOCUMENT_BYTES >> 20} MiB, found a longer one"
    return BadDocument(f"{expected}; cut it with --document-separator, or pass --skip-bad-documents", "too long")


class Readable(Protocol):
    """Anything with bytes in it."""

    def read(self, size: int = -1, /) -> bytes: ...


class _Packed:
    """A file as a decompressor reads it: knows how much was read, and whether its end was seen."""

    def __init__(self, file: Readable) -> None:
        self._file, self.num_bytes, self.is_at_end = file, 0, False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.num_bytes += len(data)
        self.is_at_end = not data
        return data


class _Unpacked(io.RawIOBase):
    """What a file holds once unpacked. A decompressor's or the disk's complaint becomes a `BadDocument`."""

    def __init__(self, source: Path | Readable, packing: str, where: str) -> None:
        self._where, self._position = where, 0
        with self._naming_damage():
            self._source = open(source, "rb") if isinstance(source, Path) else source  # noqa: SIM115 (see close)
            self._packed = _Packed(self._source) if packing else None
            file: Any = OPENERS[packing](self._packed) if packing else self._source
        self._read: Callable[[int], bytes] = file.read1 if packing else file.read  # `read1` keeps what precedes damage

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._naming_damage():
            data = self._read(len(buffer))
        if self._packed and not data and not self._packed.is_at_end:  # lzma and bz2 stop there without a word
            raise self._damaged("other bytes after its end")
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read on to a place, or to the file's end."""
        if whence != io.SEEK_SET or offset < self._position:
            raise io.UnsupportedOperation("this file is read forward only")
        while self._position < offset and self.read(min(_READ_BYTES, offset - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        source: object = getattr(self, "_source", None)
        if isinstance(source, io.IOBase):
            source.close()
        super().close()

    @contextlib.contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except BadDocument:  # of the archive that this file lies in
            raise
        except EOFError:
            raise self._damaged(f"its end at byte {self._packed.num_bytes if self._packed else 0:,}") from None
        except (lzma.LZMAError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # bz2's and gzip's own have no number
                message = f"{self._where}: expected a readable file, found {error.strerror}; {SKIP_REMEDY}"
                raise BadDocument(message, "unreadable") from None
            raise self._damaged(f"damage ({error})") from None

    def _damaged(self, found: str) -> BadDocument:
        message = f"{self._where}: expected a whole compressed file, found {found}; {SKIP_REMEDY}"
        return BadDocument(message, "damaged archive")


def unpack(source: Path | Readable, packing: str, where: str) -> IO[bytes]:
    """Open a file for reading, forward only, what it holds once unpacked.

    Args:
        packing: a key of `OPENERS`, or "" for none.
        where: the file's name in messages.

    Raises:
        BadDocument: the file cannot be opened or, later, read.
    """
    return io.BufferedReader(_Unpacked(source, packing, where), _READ_BYTES)


def read_document(file: Readable, where: str) -> bytes:
    """The rest of a file. Memory follows what is there, whatever a header promises.

    Raises:
        BadDocument: it is longer than `MAX_DOCUMENT_BYTES`.
    """
    parts, size = [], 0
    while block := file.read(_READ_BYTES):
        size += len(block)
        if size > MAX_DOCUMENT_BYTES:
            raise too_long(where)
        parts.append(block)
    return b"".join(parts)


class _Header(tarfile.TarInfo):
    """A tar header. `tarfile` alone takes a damaged one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            header = super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.TruncatedHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError from error
        except tarfile.HeaderError as error:
            raise ValueError(str(error)) from None
        is_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        if not 0 <= header.size <= (_MAX_FILE_BYTES if is_content else _MAX_NAME_BYTES):
            raise ValueError(f"a size of {header.size:,} bytes")
        return header


class Member:
    """The content of one file in a tar, read while the tar is at it."""

    def __init__(self, file: IO[bytes], where: str, size: int) -> None:
        self._file, self._where, self._left, self.size = file, where, size, size
        self.is_cut = False  # whether the tar ends, or its packing breaks, within this file

    def read(self, size: int = -1) -> bytes:
        self.is_cut = True
        data = self._file.read(min(size, self._left) if size >= 0 else self._left)
        if self._left and not data:
            raise _bad_tar(self._where, "a whole tar archive", f"its end at offset {self._file.tell():,}")
        self.is_cut, self._left = False, self._left - len(data)
        return data


def read_tar(file: IO[bytes], where: str) -> Iterator[tuple[str, str, Member]]:
    """The files of a tar, and of tars that follow it, in order: name, why it cannot be read ("" if it can), content.

    Raises:
        BadDocument: a header is damaged, the archive ends early, or other bytes follow its end.
    """
    end = 0
    try:
        archive = tarfile.open(fileobj=file, mode="r:", tarinfo=_Header, ignore_zeros=True)  # noqa: SIM115
        while (member := archive.next()) is not None:
            if member.size < 0:  # says a pax header
                raise ValueError(f"a size of {member.size:,} bytes")
            end = archive.offset
            archive.members.clear()  # type: ignore[attr-defined]
            if not member.isdir():
                is_read = member.isreg() and not member.issparse()
                reason = "" if is_read else "link in a tar" if member.islnk() or member.issym() else "special file"
                content = Member(file, where, member.size if is_read else 0)
                yield member.name, reason, content
                if content.is_cut:  # which has been said
                    return
        if archive.offset == end:
            raise tarfile.ReadError
    except BadDocument:
        raise
    except tarfile.TarError:
        raise _bad_tar(where, "a whole tar archive", f"its end at offset {file.tell():,}") from None
    except (ValueError, OverflowError) as error:
        at = f"at offset {file.tell() - tarfile.BLOCKSIZE:,}"
        raise _bad_tar(where, "a tar header", f"{error} {at}") from None


def _bad_tar(where: str, expected: str, found: str) -> BadDocument:
    return BadDocument(f"{where}: expected {expected}, found {found}; {SKIP_REMEDY}", "damaged archive")
