"""Token shards: plain `.npy` files that NumPy maps into memory, and a manifest that says what they hold.

A split ("train", "held-out") is a row of shards. `NAME.tokens.npy` holds the ids of its documents one after the
other (uint16, no special tokens), `NAME.ends.npy` where each document ends (int64). `manifest.json` comes last:
without it the folder is unfinished.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from electra.files import FormatError, atomic_write, read_json, sha256_file

FORMAT, VERSION = "electra token shards", 1
MANIFEST = "manifest.json"
TOKEN_DTYPE, END_DTYPE = np.dtype("<u2"), np.dtype("<i8")
SPLITS = ("train", "held-out")
REBUILD = "rebuild with python -m electra prepare"

Tokens = npt.NDArray[np.uint16]
Ends = npt.NDArray[np.int64]


def write_shard(folder: Path, name: str, documents: Sequence[bytes]) -> dict[str, Any]:
    """Write documents, each the bytes of its little-endian 16-bit ids, as one shard.

    Returns:
        The shard's record for the manifest: counts, file names, digests.
    """
    lengths = np.fromiter((len(document) // 2 for document in documents), END_DTYPE, len(documents))
    tokens = np.frombuffer(b"".join(documents), TOKEN_DTYPE)
    record: dict[str, Any] = {"name": name, "num_documents": len(documents), "num_tokens": len(tokens)}
    for part, array in (("tokens", tokens), ("ends", np.cumsum(lengths, dtype=END_DTYPE))):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        with atomic_write(folder / f"{name}.{part}.npy") as file:
            file.write(buffer.getbuffer())
        record[f"{part}_sha256"] = hashlib.sha256(buffer.getbuffer()).hexdigest()
    return record


class Shards:
    """The documents of one split, read where they lie on disk.

    Attributes:
        num_documents, num_tokens: of the split.
        fingerprint: SHA-256 over the digests of the split's files.
        tokenizer_fingerprint: of the tokenizer that made the ids.
        first_document, first_token: int64 (number of shards + 1,), cumulative counts at each shard's start.
    """

    def __init__(self, folder: Path, records: Sequence[dict[str, Any]], tokenizer_fingerprint: str) -> None:
        self.folder = folder
        self.tokenizer_fingerprint = tokenizer_fingerprint
        self.names = [record["name"] for record in records]
        self._tokens = [_open(folder, record, "tokens", TOKEN_DTYPE, record["num_tokens"]) for record in records]
        self._ends = [_open(folder, record, "ends", END_DTYPE, record["num_documents"]) for record in records]
        self.first_document = np.cumsum([0, *(record["num_documents"] for record in records)])
        self.first_token = np.cumsum([0, *(record["num_tokens"] for record in records)])
        self.num_documents = int(self.first_document[-1])
        self.num_tokens = int(self.first_token[-1])
        digests = [[record["tokens_sha256"], record["ends_sha256"]] for record in records]
        self.fingerprint = hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    def __len__(self) -> int:
        return self.num_documents

    def span(self, document: int) -> tuple[Tokens, int, int]:
        """Where a document lies: its shard's tokens, its start and its end in them."""
        shard = int(np.searchsorted(self.first_document, document, "right")) - 1
        number = document - int(self.first_document[shard])
        ends = self._ends[shard]
        return self._tokens[shard], int(ends[number - 1]) if number else 0, int(ends[number])

    def document(self, document: int) -> Tokens:
        """The ids of one document: a read-only view of the file."""
        tokens, start, end = self.span(document)
        return tokens[start:end]

    def document_of_token(self, token: int) -> int:
        """The number of the document that holds a token of the split."""
        shard = int(np.searchsorted(self.first_token, token, "right")) - 1
        inside = np.searchsorted(self._ends[shard], token - int(self.first_token[shard]), "right")
        return int(self.first_document[shard]) + int(inside)

    def documents(self) -> Iterator[Tokens]:
        """Every document in order."""
        return map(self.document, range(self.num_documents))


def _open(folder: Path, record: dict[str, Any], part: str, dtype: np.dtype[Any], length: int) -> npt.NDArray[Any]:
    path = folder / f"{record['name']}.{part}.npy"
    unit = "tokens" if part == "tokens" else "documents"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FormatError(f"{path}: expected the shard the manifest names, found none; {REBUILD}") from None
    except ValueError as error:
        raise FormatError(f"{path}: expected {length:,} {unit}, found {error}; {REBUILD}") from None
    if array.dtype != dtype or array.shape != (length,):
        found = f"{array.dtype} {array.shape}"
        raise FormatError(f"{path}: expected {length:,} {unit} as {dtype}, found {found}; {REBUILD}")
    return np.asarray(array)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a shard folder.

    Raises:
        FileNotFoundError: no such folder.
        FormatError: the folder is unfinished, of another kind or of a newer version.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of token shards, found none; make it with python -m electra prepare")
    path = folder / MANIFEST
    if not path.exists():
        raise FormatError(f"{folder}: expected {MANIFEST}, found none; {REBUILD} (the same command goes on)")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise FormatError(f"{path}: expected {FORMAT!r} version {VERSION}, found something else; {REBUILD}")
    return manifest


def open_shards(folder: Path, split: str = "train") -> Shards:
    """Open one split of a shard folder; sizes are checked at once, digests by `verify`.

    Raises:
        FileNotFoundError: no such folder.
        FormatError: a file is missing, of the wrong size or kind.
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}; choose one")
    manifest = read_manifest(folder)
    return Shards(folder, manifest["splits"][split], manifest["tokenizer_fingerprint"])


def verify(folder: Path) -> int:
    """Check every digest of a shard folder; returns the number of files checked.

    Raises:
        FormatError: a file is not what was written.
    """
    manifest = read_manifest(folder)
    files = {"tokenizer.json": manifest["tokenizer_sha256"]}
    for split in SPLITS:
        for record in manifest["splits"][split]:
            for part in ("tokens", "ends"):
                files[f"{record['name']}.{part}.npy"] = record[f"{part}_sha256"]
    for name, expected in files.items():
        found = sha256_file(folder / name)
        if found != expected:
            raise FormatError(f"{folder / name}: expected sha256 {expected}, found {found}; {REBUILD}")
    return len(files)
