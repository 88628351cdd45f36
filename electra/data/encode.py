"""Encode a corpus into token shards: one for each 32 MiB block of text, then the held-out documents, then the manifest.

The key of a document is the first 64 bits of the SHA-256 of its text. The documents with the lowest keys are held out:
the lowest 0.5 % of all keys, but at least 50 (`min_held_out`) and at most 10,000 documents, plus any copies of the one
with the highest key. So equal documents are always in one split, and the split is the same for every tokenizer. The
worker of a block does not know the other blocks' keys, so it sets aside every document that may be held out. At the
end, the documents that were set aside but not held out become the last training shard.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from electra.data import shards
from electra.data.corpus import Tally, Unit
from electra.data.learn import Reader
from electra.files import FormatError, read_json, sha256_file, write_json
from electra.ids import Ids
from electra.tokenizer.byte_level import group_texts
from electra.tokenizer.wordpiece import load_tokenizer, tokenizer_file

WORK = ".work"  # folder of the records of finished blocks; removed once the manifest is written
MAX_HELD_OUT = 10_000
_KEYS_BELOW = int(0.005 * (1 << 64))
_Keyed = tuple[int, Ids]  # a document's key and its ids


def record_path(out: Path, number: int) -> Path:
    """Return the path of the record of finished block `number`."""
    return out / WORK / f"block-{number:05d}.json"


def finished_blocks(out: Path) -> list[dict[str, Any]]:
    """Return the records of the finished blocks in a shard folder, in order."""
    files = sorted((out / WORK).glob("block-*.json"))
    return [read_json(file, train=dict, aside=dict, keys=list, tally=dict, text_bytes=int) for file in files]


class EncodeBlocks:
    """A worker that encodes blocks: it writes the shard of a block, then the block's record, and yields the record."""

    def __init__(self, read: Reader, out: Path, min_held_out: int) -> None:
        self._read, self._out, self._min_held_out = read, out, min_held_out
        self._tokenizer = load_tokenizer(out)

    def __call__(self, task: tuple[int, list[Unit]] | None) -> Iterator[dict[str, Any]]:
        if task is None:
            return
        number, units = task
        tally = Tally()
        documents: list[_Keyed] = []
        text_bytes = 0
        for texts in group_texts(text for unit in units for text in self._read(unit, tally)):
            data = [text.encode() for text in texts]
            text_bytes += sum(map(len, data))
            keys = [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in data]
            documents += zip(keys, self._tokenizer.encode_documents(texts), strict=True)
        train, aside = _split(documents, self._min_held_out)
        record = {
            "train": _write(self._out, f"train-{number:05d}", train),
            "aside": _write(self._out / WORK, f"aside-{number:05d}", aside),
            "keys": [key for key, _ in aside],
            "tally": vars(tally),
            "text_bytes": text_bytes,
        }
        write_json(record_path(self._out, number), record)
        yield record


def _split(documents: Sequence[_Keyed], min_held_out: int) -> tuple[list[_Keyed], list[_Keyed]]:
    """Split documents into training documents and the documents with the lowest keys."""
    keys = [key for key, _ in documents]
    num_low = min(max(min_held_out, sum(key < _KEYS_BELOW for key in keys)), MAX_HELD_OUT)
    highest = max(heapq.nsmallest(num_low, keys), default=-1)
    return [it for it in documents if it[0] > highest], [it for it in documents if it[0] <= highest]


def _write(folder: Path, name: str, documents: Sequence[_Keyed]) -> dict[str, Any]:
    return shards.write_shard(folder, name, [ids for _, ids in documents])


def finish(out: Path, min_held_out: int, separator: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Choose the held-out documents, write the last shards and the manifest, and return the manifest.

    Raises FormatError if there are no documents, if less than half of them would be left to train on, or if `separator`
    occurs nowhere.
    """
    sources = ", ".join(extra["sources"])
    records = finished_blocks(out)
    tally = Tally()
    for record in records:
        tally.add(Tally(**record["tally"]))
    if separator and not tally.num_separators:
        problem = f"the document separator {separator!r} occurs in no .txt file"
        raise FormatError(f"{sources}: {problem}; give another --document-separator, and another --out")
    keys = [key for record in records for key in record["keys"]]
    aside = shards.Shards(out / WORK, [record["aside"] for record in records], tokenizer_fingerprint="")
    rest, held_out = _split(list(zip(keys, aside.documents(), strict=True)), min_held_out)
    num_documents = sum(record[part]["num_documents"] for record in records for part in ("train", "aside"))
    num_held_out = max(min_held_out, len(held_out))
    if num_documents < max(1, 2 * num_held_out):
        expected = f"expected {max(1, 2 * num_held_out)} documents or more, {num_held_out} of them to hold out"
        found = f"found {num_documents} (left out: {dict(tally.left_out) or 'none'}; equal documents stay together)"
        remedy = "add text, or hold out fewer with --min-held-out and another --out"
        raise FormatError(f"{sources}: {expected}, {found}; {remedy}")
    tokenizer = load_tokenizer(out)
    splits = {
        "train": [*(record["train"] for record in records), _write(out, f"train-{len(records):05d}", rest)],
        "held-out": [_write(out, "held-out-00000", held_out)],
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
