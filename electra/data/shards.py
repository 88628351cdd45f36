"""Token shards: plain `.npy` files that NumPy maps into memory, and a manifest that says what they hold.

A split ("train", "held-out") is a row of shards. `NAME.tokens.npy` holds the ids of its documents one after the
other (uint16, no special tokens), `NAME.ends.npy` where each document ends (int64). `manifest.json` is written
last: a folder without it is unfinished.
"""

from __future__ import annotations

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
from electra.ids import ID_DTYPE, MAX_VOCAB_SIZE, Ids

FORMAT, VERSION = "electra token shards", 1
MANIFEST = "manifest.json"
SPLITS = ("train", "held-out")
PARTS: dict[str, np.dtype[Any]] = {"tokens": ID_DTYPE, "ends": np.dtype("<i8")}
_REBUILD = "rebuild with python -m electra prepare"
_CHECKED_BYTES = 1 << 28  # tokens of a split that are checked against their digests on opening, in about 0.3 s
_MANIFEST_FIELDS: dict[str, Any] = {
    "sources": list[str],
    "num_documents": int,
    "num_tokens": int,
    "text_bytes": int,
    "skipped": dict[str, int],
    "settings": dict,
    "tokenizer_report": dict,
    "vocab_size": int,
    "tokenizer_fingerprint": str,
    "tokenizer_file": str,
    "tokenizer_sha256": str,
    "splits": dict,
}
_RECORD_FIELDS: dict[str, type] = {
    "name": str,
    "num_documents": int,
    "num_tokens": int,
    "tokens_sha256": str,
    "ends_sha256": str,
}


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
        path, content = folder / f"{name}.{part}.npy", buffer.getbuffer()
        try:
            with atomic_write(path) as file:
                file.write(content)
        except OSError as error:
            found = f"{error.strerror}; free some and run the same command again"
            raise OSError(f"{path}: expected room for {len(content):,} bytes, found {found}") from None
        record[f"{part}_sha256"] = hashlib.sha256(content).hexdigest()
    return record


class Shards:
    """The documents of one split, read where they lie on disk.

    Attributes:
        num_documents, num_tokens: of the split.
        token_files: the ids of each file, mapped.
        fingerprint: SHA-256 over the digests of the split's files.
        tokenizer_fingerprint: of the tokenizer that made the ids.
        vocab_size: all ids are below it.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[dict[str, Any]],
        tokenizer_fingerprint: str,
        vocab_size: int = MAX_VOCAB_SIZE,
        split: str = "train",
    ) -> None:
        self.folder, self.split = folder, split
        self.tokenizer_fingerprint, self.vocab_size = tokenizer_fingerprint, vocab_size
        _allow_open_files()
        self._first_document = np.cumsum([0, *(record["num_documents"] for record in records)])
        self._first_token = np.cumsum([0, *(record["num_tokens"] for record in records)])
        self.num_documents = int(self._first_document[-1])
        self.num_tokens = int(self._first_token[-1])
        is_small = self.num_tokens * PARTS["tokens"].itemsize <= _CHECKED_BYTES
        self.token_files = [_open(folder, record, "tokens", record["num_tokens"], is_small) for record in records]
        self._ends = [_open(folder, record, "ends", record["num_documents"], True) for record in records]
        for record, ends in zip(records, self._ends, strict=True):
            if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if len(ends) else 0) != record["num_tokens"]:
                expected = f"ends that rise to {record['num_tokens']:,}, found others"
                raise FormatError(f"{folder / record['name']}.ends.npy: expected {expected}; {_REBUILD}")
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

    def check_ids(self, ids: npt.NDArray[np.integer[Any]]) -> None:
        """Refuse ids beyond the vocabulary: of a large split, digests are not checked on opening."""
        if (found := int(ids.max(initial=0))) >= self.vocab_size:
            message = f"{self.folder}: expected ids below {self.vocab_size:,}, found {found:,}"
            raise FormatError(f"{message}; find the damaged file with python -m electra prepare --verify")

    def lengths(self) -> npt.NDArray[np.int64]:
        """(num_documents,) tokens of each document."""
        return np.concatenate([np.diff(ends, prepend=0) for ends in self._ends])


def _allow_open_files() -> None:
    """Lift this process's limit: each mapped file counts as open, and OpenWebText's 2,400 exceed the usual 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _open(folder: Path, record: dict[str, Any], part: str, length: int, is_checked: bool) -> npt.NDArray[Any]:
    path = folder / f"{record['name']}.{part}.npy"
    expected = f"{length:,} {'documents' if part == 'ends' else part} as {PARTS[part].name}"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        found = f"an array of {array.dtype} with shape {array.shape}"
    except FileNotFoundError:
        array, found = None, "no such file"
    except (ValueError, EOFError, tokenize.TokenError):  # the last from a header that is no Python
        array, found = None, f"a damaged or truncated file of {path.stat().st_size:,} bytes"
    except OSError as error:
        found = f"{error.strerror}; raise the limit on open files (ulimit -Hn) to twice the shards, and some"
        raise OSError(f"{path}: expected to map this file among others, found {found}") from None
    if array is None or array.dtype != PARTS[part] or array.shape != (length,):
        raise FormatError(f"{path}: expected {expected}, found {found}; {_REBUILD}")
    if is_checked:
        _check_digest(path, record[f"{part}_sha256"])
    array._mmap.madvise(mmap.MADV_RANDOM)  # a window is a page or two: reading ahead would fetch 32
    return np.asarray(array)  # slices of a plain array cost a third of a memmap's


def _check_digest(path: Path, expected: str) -> None:
    found = sha256_file(path) if path.exists() else "no such file"
    if found != expected:
        raise FormatError(f"{path}: expected sha256 {expected}, found {found}; {_REBUILD}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a shard folder.

    Raises:
        FileNotFoundError: there is no such folder.
        FormatError: the folder is unfinished, of another kind or version, or names files outside itself; or the
            manifest is damaged.
    """
    if not folder.is_dir():
        expected = "expected a folder of token shards, found none; make it with python -m electra prepare"
        raise FileNotFoundError(f"{folder}: {expected}")
    path = folder / MANIFEST
    if not path.exists():
        expected = f"expected a finished shard folder, found no {MANIFEST}"
        raise FormatError(f"{folder}: {expected}; run the python -m electra prepare that began it again")
    found = [read_json(path).get(key) for key in ("format", "version")]
    if found != [FORMAT, VERSION]:
        raise FormatError(f"{path}: expected {FORMAT!r} version {VERSION}, found {found!s:.80}; {_REBUILD}")
    manifest = read_json(path, **_MANIFEST_FIELDS)
    for split in SPLITS:
        found = manifest["splits"].get(split)
        for number, record in enumerate(found if isinstance(found, list) else [None]):
            for field, kind in _RECORD_FIELDS.items():
                value: Any = record.get(field) if isinstance(record, dict) else None
                if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 1 << 62):
                    expected = f"{kind.__name__} as {field!r} of shard {number} of {split!r}, found {value!r:.80}"
                    raise FormatError(f"{path}: expected {expected}; {_REBUILD}")
    records = [record for split in SPLITS for record in manifest["splits"][split]]
    for name in [manifest["tokenizer_file"], *(record["name"] for record in records)]:
        if Path(name).name != name or name in ("", "..") or not name.isprintable():
            raise FormatError(f"{path}: expected plain file names, found {name!r:.80}; {_REBUILD}")
    return manifest


def open_shards(folder: Path, split: str = "train") -> Shards:
    """Open one split of a shard folder.

    Sizes, the digests of the tokenizer and of where documents end are checked at once, the digests of the tokens too
    where that takes no time (256 MiB); else by `verify`.

    Raises:
        FileNotFoundError: there is no such folder.
        FormatError: a file is missing, of another size or kind, or not what was written.
        ValueError: there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}; choose one")
    manifest = read_manifest(folder)
    _check_digest(folder / manifest["tokenizer_file"], manifest["tokenizer_sha256"])
    return Shards(folder, manifest["splits"][split], manifest["tokenizer_fingerprint"], manifest["vocab_size"], split)


def verify(folder: Path) -> int:
    """Check every digest of a shard folder.

    Returns:
        The number of files checked.

    Raises:
        FormatError: a file is missing or not what was written.
    """
    manifest = read_manifest(folder)
    digests = {manifest["tokenizer_file"]: manifest["tokenizer_sha256"]}
    for record in (record for split in SPLITS for record in manifest["splits"][split]):
        digests |= {f"{record['name']}.{part}.npy": record[f"{part}_sha256"] for part in PARTS}
    for name, digest in digests.items():
        _check_digest(folder / name, digest)
    return len(digests)
