"""Token shards: plain `.npy` files that NumPy maps into memory, and a manifest that describes them.

Each of the two splits ("train", "held-out") has any number of shards. `NAME.tokens.npy` holds the ids of a shard's
documents one after the other (uint16, no special tokens). `NAME.ends.npy` holds the index at which each document ends
(int64). `manifest.json` is written last: a folder without it is unfinished.
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
_CHECKED_BYTES = 1 << 28  # the largest split whose token digests are checked on opening; about 0.3 s
_MANIFEST_FIELDS: dict[str, Any] = {
    **{"sources": list[str], "settings": dict, "skipped": dict[str, int], "tokenizer_report": dict, "splits": dict},
    **dict.fromkeys(("num_documents", "num_tokens", "text_bytes", "vocab_size"), int),
    **dict.fromkeys(("tokenizer_fingerprint", "tokenizer_file", "tokenizer_sha256"), str),
}
_RECORD_FIELDS = {"name": str, "num_documents": int, "num_tokens": int, "tokens_sha256": str, "ends_sha256": str}


def write_shard(folder: Path, name: str, documents: Sequence[Ids]) -> dict[str, Any]:
    """Write documents as one shard; return the shard's record for the manifest: name, counts, digests."""
    lengths = np.fromiter(map(len, documents), np.int64, len(documents))
    tokens = np.concatenate([np.empty(0, PARTS["tokens"]), *documents])
    record: dict[str, Any] = {"name": name, "num_documents": len(documents), "num_tokens": len(tokens)}
    for part, array in (("tokens", tokens), ("ends", np.cumsum(lengths, dtype=PARTS["ends"]))):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        with atomic_write(folder / f"{name}.{part}.npy") as file:
            file.write(buffer.getbuffer())
        record[f"{part}_sha256"] = hashlib.sha256(buffer.getbuffer()).hexdigest()
    return record


class Shards:
    """The documents of one split, memory-mapped.

    Attributes:
        num_documents, num_tokens: size of the split.
        token_files: one uint16 array of ids for each file; every id is below `vocab_size`.
        fingerprint: SHA-256 of the digests of the split's files.
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
        self._first_document = np.cumsum([0, *(record["num_documents"] for record in records)])
        self._first_token = np.cumsum([0, *(record["num_tokens"] for record in records)])
        self.num_documents, self.num_tokens = int(self._first_document[-1]), int(self._first_token[-1])
        # each mapped file counts as an open file; OpenWebText has 2,400, and the usual limit is 1,024
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        is_small = self.num_tokens * PARTS["tokens"].itemsize <= _CHECKED_BYTES
        self.token_files = [_open(folder, record, "tokens", record["num_tokens"], is_small) for record in records]
        self._ends = [_open(folder, record, "ends", record["num_documents"], True) for record in records]
        digests = [[record[f"{part}_sha256"] for part in PARTS] for record in records]
        self.fingerprint = hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    def span(self, document: int) -> tuple[Ids, int, int]:
        """Return all tokens of the file that holds a document, and the document's start and end in these tokens."""
        shard = int(self._first_document.searchsorted(document, "right")) - 1
        ends = self._ends[shard]
        number = document - int(self._first_document[shard])
        return self.token_files[shard], int(ends[number - 1]) if number else 0, int(ends[number])

    def documents(self) -> Iterator[Ids]:
        """Yield the ids of every document in order, as read-only views of the files."""
        for tokens, start, end in map(self.span, range(self.num_documents)):
            yield tokens[start:end]

    def document_of_token(self, token: int) -> int:
        """Return the index of the document that holds token number `token` of the split."""
        shard = int(self._first_token.searchsorted(token, "right")) - 1
        inside = self._ends[shard].searchsorted(token - int(self._first_token[shard]), "right")
        return int(self._first_document[shard]) + int(inside)

    def check_ids(self, ids: npt.NDArray[np.integer[Any]]) -> None:
        """Raise FormatError if an id is outside the vocabulary; opening a large split does not check its tokens."""
        if (found := int(ids.max(initial=0))) >= self.vocab_size:
            message = f"{self.folder}: expected ids below {self.vocab_size:,}, found {found:,}"
            raise FormatError(f"{message}; find the damaged file with python -m electra prepare --verify")


def _open(folder: Path, record: dict[str, Any], part: str, length: int, is_checked: bool) -> npt.NDArray[Any]:
    """Map one file of a shard into memory and check its dtype and shape, and its digest if `is_checked`."""
    path = folder / f"{record['name']}.{part}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError, tokenize.TokenError) as error:  # TokenError: a damaged header
        raise FormatError(f"{path}: missing or damaged ({error}); {_REBUILD}") from None
    if (array.dtype, array.shape) != (PARTS[part], (length,)):
        expected, found = f"{PARTS[part]} of shape {(length,)}", f"{array.dtype} of shape {array.shape}"
        raise FormatError(f"{path}: expected {expected}, found {found}; {_REBUILD}")
    if is_checked:
        _check_digest(path, record[f"{part}_sha256"])
    array._mmap.madvise(mmap.MADV_RANDOM)  # a window needs one or two pages; without this, 32 would be read
    return np.asarray(array)  # slicing a plain array takes a third of the time of slicing a memmap


def _check_digest(path: Path, expected: str) -> None:
    found = sha256_file(path) if path.exists() else "no such file"
    if found != expected:
        raise FormatError(f"{path}: expected sha256 {expected}, found {found}; {_REBUILD}")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of a shard folder.

    Raises:
        FileNotFoundError: there is no such folder.
        FormatError: the folder is unfinished or of another version, or its manifest is damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of token shards; make it with python -m electra prepare")
    path = folder / MANIFEST
    if not path.exists():
        raise FormatError(f"{folder}: no token shards, or unfinished: no {MANIFEST}; run python -m electra prepare")
    found = [read_json(path).get(key) for key in ("format", "version")]
    if found != [FORMAT, VERSION]:
        raise FormatError(f"{path}: expected {FORMAT!r} version {VERSION}, found {found!s:.80}; {_REBUILD}")
    manifest = read_json(path, **_MANIFEST_FIELDS)
    names = [manifest["tokenizer_file"]]
    for split in SPLITS:
        records = manifest["splits"].get(split)
        for record in records if isinstance(records, list) else [records]:
            if not isinstance(record, dict) or any(type(record.get(f)) is not k for f, k in _RECORD_FIELDS.items()):
                expected = f"a shard of {split!r} with {', '.join(_RECORD_FIELDS)}"
                raise FormatError(f"{path}: expected {expected}, found {record!r:.200}; {_REBUILD}")
            names.append(record["name"])
    for name in names:
        if Path(name).name != name or name in ("", "..") or not name.isprintable():
            raise FormatError(f"{path}: expected plain file names, found {name!r:.80}; {_REBUILD}")
    return manifest


def open_shards(folder: Path, split: str = "train") -> Shards:
    """Open one split ("train" or "held-out") of a shard folder.

    Checked on opening: the sizes of all files, the digests of the tokenizer and of the ends of documents, and the
    digests of the tokens if they have at most 256 MiB. `verify` checks all digests.

    Raises:
        FileNotFoundError: there is no such folder.
        FormatError: a file is missing, or its size, dtype or content is not what was written.
    """
    manifest = read_manifest(folder)
    _check_digest(folder / manifest["tokenizer_file"], manifest["tokenizer_sha256"])
    return Shards(folder, manifest["splits"][split], manifest["tokenizer_fingerprint"], manifest["vocab_size"], split)


def verify(folder: Path) -> int:
    """Check every digest of a shard folder; return the number of files. A wrong digest raises a FormatError."""
    manifest = read_manifest(folder)
    digests = {manifest["tokenizer_file"]: manifest["tokenizer_sha256"]}
    for record in (record for split in SPLITS for record in manifest["splits"][split]):
        digests |= {f"{record['name']}.{part}.npy": record[f"{part}_sha256"] for part in PARTS}
    for name, digest in digests.items():
        _check_digest(folder / name, digest)
    return len(digests)
