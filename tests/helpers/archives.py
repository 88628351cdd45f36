"""Archives and files made in memory, for tests that read them."""

from __future__ import annotations

import io
import lzma
import tarfile
from pathlib import Path


def tar_of(files: dict[str, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    """An uncompressed tar; a name that ends in "/" is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def inner_archive(texts: list[str], prefix: str = "") -> bytes:
    """What OpenWebText keeps in one `urlsf_subsetNN-M_data.xz`."""
    files = {f"{prefix}{n:07d}-{n:032x}.txt": text.encode() for n, text in enumerate(texts)}
    return lzma.compress(tar_of(files))


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
