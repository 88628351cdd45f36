"""Token shards: plain `.npy` files that NumPy maps into memory, and a manifest that says what they hold.

A split ("train", "held-out") is a row of shards. `NAME.tokens.npy` holds the ids of its documents one after the
other (uint16, no special tokens), `NAME.ends.npy` where each document ends (int64). `manifest.json` is written
last: a folder without it is unfinished.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import resource
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from electra.files import FormatError, atomic_write, read_json, sha256_file
from electra.ids import ID_DTYPE, Ids

FORMAT, VERSION = "electra token shards", 1
MANIFEST = "manifest.json"
SPLITS = ("train", "held-out")
PARTS: dict[str, np.dtype[Any]] = {"tokens": ID_DTYPE, "ends": np.dtype("<i8")}
_REBUILD = "rebuild with python -m electra prepare"


def write_shard(folder: Path, name: str, documents: Sequence[Ids]) -> dict[str, Any]:
    """Write documents, each an array of ids, as one shard.

    Returns:
        The shard's record for the manifest: name, counts, digests.

    Raises:
        OSError: the files cannot be written; the message names the file.
    """
    lengths = np.fromiter(map(len, documents), np.int64, len(documents))
    tokens = np.concatenate([np.empty(0, PARTS["tokens"]), *documents])
    record: dict[str, Any] = {"name": name, "num_documents": len(documents), "num_tokens": len(tokens)}
    for part, array in (("tokens", tokens), ("ends", np.cumsum(lengths, dtype=PARTS["ends"]))):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        _write(folder / f"{name}.{part}.npy", buffer.getbuffer())
        record[f"{part}_sha256"] = hashlib.sha256(buffer.getbuffer()).hexdigest()
    return record


def _write(path: Path, content: memoryview) -> None:
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        found = f"{error.strerror}; free some and run the same command again"
        raise OSError(f"{path}: expected room for {len(content):,} bytes, found {found}") from None


class Shards:
    """The documents of one split, read where they lie on disk.

    Attributes:
        num_documents, num_tokens: of the split.
        token_files: the ids of each file, mapped.
        fingerprint: SHA-256 over the digests of the split's files.
        tokenizer_fingerprint: of the tokenizer that made the ids.
    """

    def __init__(self, folder: Path, records: Sequence[dict[str, Any]], tokenizer_fingerprint: str) -> None:
        self.folder = folder
        self.tokenizer_fingerprint = tokenizer_fingerprint
        _allow_open_files()
        self.token_files = [_open(folder, record, "tokens", record["num_tokens"]) for record in records]
        self._ends = [_open(folder, record, "ends", record["num_documents"]) for record in records]
        self._first_document = np.cumsum([0, *(record["num_documents"] for record in records)])
        self._first_token = np.cumsum([0, *(record["num_tokens"] for record in records)])
        self.num_documents = int(self._first_document[-1])
        self.num_tokens = int(self._first_token[-1])
        digests = [[record[f"{part}_sha256"] for part in PARTS] for record in records]
        self.fingerprint = hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    def __len__(self) -> int:
        return self.num_documents

    def span(self, document: int) -> tuple[Ids, int, int]:
        """Where a document lies: the tokens of its shard, its start and its end in them."""
        shard = int(self._first_document.searchsorted(document, "right")) - 1
        ends = self._ends[shard]
        number = document - int(self._first_document[shard])
        return self.token_files[shard], int(ends[number - 1]) if number else 0, int(ends[number])

    def document(self, document: int) -> Ids:
        """The ids of one document: a read-only view of the file."""
        tokens, start, end = self.span(document)
        return tokens[start:end]

    def documents(self) -> Iterator[Ids]:
        """Every document in order."""
        return map(self.document, range(self.num_documents))

    def document_of_token(self, token: int) -> int:
        """The number of the document that holds a token of the split."""
        shard = int(self._first_token.searchsorted(token, "right")) - 1
        inside = self._ends[shard].searchsorted(token - int(self._first_token[shard]), "right")
        return int(self._first_document[shard]) + int(inside)

    def lengths(self) -> npt.NDArray[np.int64]:
        """(num_documents,) tokens of each document."""
        return np.concatenate([np.diff(ends, prepend=0) for ends in self._ends])


def _allow_open_files() -> None:
    """Lift this process's limit: each mapped file counts as open, and OpenWebText's 2,400 exceed the usual 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _open(folder: Path, record: dict[str, Any], part: str, length: int) -> npt.NDArray[Any]:
    path = folder / f"{record['name']}.{part}.npy"
    expected = f"{length:,} {'documents' if part == 'ends' else part} as {PARTS[part].name}"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        found = f"an array of {array.dtype.name} with shape {array.shape}"
    except FileNotFoundError:
        array, found = None, "no such file"
    except (ValueError, EOFError, tokenize.TokenError):  # the last from a header that is no Python
        array, found = None, f"a damaged or truncated file of {path.stat().st_size:,} bytes"
    except OSError as error:
        found = f"{error.strerror}; raise the limit on open files (ulimit -Hn) to twice the shards, and some"
        raise OSError(f"{path}: expected to map this file among others, found {found}") from None
    if array is None or array.dtype != PARTS[part] or array.shape != (length,):
        raise FormatError(f"{path}: expected {expected}, found {found}; {_REBUILD}")
    array._mmap.madvise(mmap.MADV_RANDOM)  # a window is a page or two: reading ahead would fetch 32
    return np.asarray(array)  # slices of a plain array cost a third of a memmap's


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a shard folder.

    Raises:
        FileNotFoundError: there is no such folder.
        FormatError: the folder is unfinished, of another kind or version, or names files outside itself.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of token shards, found none; "
                                "make it with python -m electra prepare")  # fmt: skip
    path = folder / MANIFEST
    if not path.exists():
        raise FormatError(f"{folder}: expected a finished shard folder, found no {MANIFEST}; "
                          "run the python -m electra prepare that began it again")  # fmt: skip
    manifest = read_json(path)
    found = [manifest.get(key) for key in ("format", "version")] if isinstance(manifest, dict) else manifest
    if found != [FORMAT, VERSION]:
        raise FormatError(f"{path}: expected {FORMAT!r} version {VERSION}, found {found!r}; {_REBUILD}")
    with _refusing_malformed(path):
        for name in (record["name"] for split in SPLITS for record in manifest["splits"][split]):
            if Path(name).name != name or not name.isprintable():
                raise FormatError(f"{path}: expected plain file names, found {name!r}; {_REBUILD}")
    return manifest


@contextlib.contextmanager
def _refusing_malformed(path: Path) -> Iterator[None]:
    try:
        yield
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        found = f"{type(error).__name__} {error}"
        raise FormatError(f"{path}: expected a manifest as prepare writes it, found {found}; {_REBUILD}") from None


def open_shards(folder: Path, split: str = "train") -> Shards:
    """Open one split of a shard folder. Sizes are checked at once, digests by `verify`.

    Raises:
        FileNotFoundError: there is no such folder.
        FormatError: a file is missing, of another size or kind.
        ValueError: there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}; choose one")
    manifest = read_manifest(folder)
    with _refusing_malformed(folder / MANIFEST):
        return Shards(folder, manifest["splits"][split], manifest["tokenizer_fingerprint"])


def verify(folder: Path) -> int:
    """Check every digest of a shard folder.

    Returns:
        The number of files checked.

    Raises:
        FormatError: a file is missing or not what was written.
    """
    manifest = read_manifest(folder)
    with _refusing_malformed(folder / MANIFEST):
        digests = {manifest["tokenizer_file"]: manifest["tokenizer_sha256"]}
        for record in (record for split in SPLITS for record in manifest["splits"][split]):
            digests |= {f"{record['name']}.{part}.npy": record[f"{part}_sha256"] for part in PARTS}
        files = {folder / name: digest for name, digest in digests.items()}
    for file, expected in files.items():
        found = sha256_file(file) if file.exists() else "no such file"
        if found != expected:
            raise FormatError(f"{file}: expected sha256 {expected}, found {found}; {_REBUILD}")
    return len(files)
