"""Encode a corpus into token shards: a shard for each block, held-out documents apart, the manifest last.

The key of a document is the first 64 bits of the SHA-256 of its text. Held out are the documents with the lowest keys:
0.5 % of all keys, but at least 50 (`min_held_out`) and at most 10,000 documents, and the documents equal to the last
of them. So equal documents are always in one split, and the split is the same for every tokenizer. A block is encoded
without knowing the keys of the others: it sets aside all documents that may be held out. Those that are not held out
in the end become the last training shard.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electra.data import shards
from electra.data.corpus import Tally, Unit
from electra.data.learn import Reader
from electra.files import FormatError, read_json, sha256_file, write_json
from electra.ids import Ids
from electra.tokenizer.byte_level import group_texts
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer, tokenizer_file

WORK = ".work"  # folder of the finished blocks' records, until the manifest is written
MAX_HELD_OUT = 10_000
_KEYS_BELOW = int(0.005 * (1 << 64))


def record_path(out: Path, number: int) -> Path:
    """Return the path of a finished block's record."""
    return out / WORK / f"block-{number:05d}.json"


class EncodeBlocks:
    """An encoding worker: writes the shard of each block, and last the block's record, which it returns."""

    def __init__(self, read: Reader, out: Path, min_held_out: int) -> None:
        self._read, self._out, self._min_held_out = read, out, min_held_out
        self._tokenizer = load_tokenizer(out)

    def __call__(self, task: tuple[int, list[Unit]] | None) -> Iterator[dict[str, Any]]:
        if task is None:
            return
        number, units = task
        tally = Tally()
        documents: list[Ids] = []
        keys: list[int] = []
        text_bytes = 0
        for texts in group_texts(text for unit in units for text in self._read(unit, tally)):
            data = [text.encode() for text in texts]
            text_bytes += sum(map(len, data))
            keys += [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in data]
            documents += self._encode(texts)
        train, aside = _split(keys, documents, self._min_held_out)
        record = {
            "train": shards.write_shard(self._out, f"train-{number:05d}", [ids for _, ids in train]),
            "aside": shards.write_shard(self._out / WORK, f"aside-{number:05d}", [ids for _, ids in aside]),
            "keys": [key for key, _ in aside],
            "tally": vars(tally),
            "text_bytes": text_bytes,
        }
        write_json(record_path(self._out, number), record)
        yield record

    def _encode(self, texts: list[str]) -> list[Ids]:
        if isinstance(self._tokenizer, WordPieceTokenizer):
            return list(map(self._tokenizer.encode_to_array, texts))
        ids, ends = self._tokenizer.encode_documents(texts)
        return np.split(ids, ends[:-1])


_Keyed = list[tuple[int, Ids]]


def _split(keys: Sequence[int], documents: Iterable[Ids], min_held_out: int) -> tuple[_Keyed, _Keyed]:
    """Split documents with their keys into training documents and documents with the lowest keys."""
    num_low = min(max(min_held_out, sum(key < _KEYS_BELOW for key in keys)), MAX_HELD_OUT)
    highest = max(heapq.nsmallest(num_low, keys), default=-1)
    split: tuple[_Keyed, _Keyed] = ([], [])
    for key, ids in zip(keys, documents, strict=True):
        split[key <= highest].append((key, ids))
    return split


def finish(out: Path, num_blocks: int, min_held_out: int, separator: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Choose the held-out documents among those set aside; write the last shards and the manifest.

    Args:
        separator: what must have stood between documents somewhere, unless it is empty.
        extra: further entries of the manifest, "sources" among them.

    Returns:
        The manifest.

    Raises:
        FormatError: fewer than twice as many documents as are held out, or no separator, were found.
    """
    sources = ", ".join(extra["sources"])
    records = [read_json(record_path(out, n), tally=dict, keys=list, text_bytes=int) for n in range(num_blocks)]
    tally = Tally()
    for record in records:
        tally.add(Tally(**record["tally"]))
    if separator and not tally.num_separators:
        problem = f"the document separator {separator!r} occurs in no .txt file"
        raise FormatError(f"{sources}: {problem}; give another --document-separator, and another --out")
    keys = [key for record in records for key in record["keys"]]
    aside = shards.Shards(out / WORK, [record["aside"] for record in records], tokenizer_fingerprint="")
    rest, held_out = _split(keys, aside.documents(), min_held_out)
    num_documents = sum(record[part]["num_documents"] for record in records for part in ("train", "aside"))
    num_held_out = max(min_held_out, len(held_out))
    if num_documents < max(1, 2 * num_held_out):
        expected = f"expected {max(1, 2 * num_held_out)} documents or more, {num_held_out} of them to hold out"
        found = f"found {num_documents} (left out: {dict(tally.left_out) or 'none'}; equal documents stay together)"
        remedy = "add text, or hold out fewer with --min-held-out and another --out"
        raise FormatError(f"{sources}: {expected}, {found}; {remedy}")
    tokenizer = load_tokenizer(out)
    last_train = shards.write_shard(out, f"train-{num_blocks:05d}", [ids for _, ids in rest])
    splits = {
        "train": [*(record["train"] for record in records), last_train],
        "held-out": [shards.write_shard(out, "held-out-00000", [ids for _, ids in held_out])],
    }
    manifest = {
        "format": shards.FORMAT,
        "version": shards.VERSION,
        "dtype": shards.PARTS["tokens"].name,
        **extra,
        "num_documents": num_documents,
        "num_tokens": sum(shard["num_tokens"] for split in splits.values() for shard in split),
        "text_bytes": sum(record["text_bytes"] for record in records),
        "skipped": dict(sorted(tally.left_out.items())),
        "first_skipped": dict(sorted(tally.first.items())),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "tokenizer_file": tokenizer_file(out).name,
        "tokenizer_sha256": sha256_file(tokenizer_file(out)),
        "splits": splits,
    }
    write_json(out / shards.MANIFEST, manifest)
    return manifest
