"""Encode a corpus into token shards: a shard a block, held-out documents set apart, the manifest last.

Every document has a key, the first 64 bits of the SHA-256 of its text. Held out are the documents whose key is in
the lowest 0.5 % of the range: equal documents stay together, and the split is the same for every tokenizer. If that
makes fewer than 50 (`min_held_out`) documents the 50 lowest keys are taken, if more than 10,000 the 10,000 lowest. A
block cannot know what the others hold, so it sets all aside that may be chosen; at the end those that are not
become the last training shard.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from electra.data import shards
from electra.data.learn import Block, Reader
from electra.files import FormatError, read_json, sha256_file, write_json
from electra.ids import Ids
from electra.tokenizer.byte_level import group_texts
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer, tokenizer_file

WORK = ".work"  # what a finished block leaves until the manifest is written
MAX_HELD_OUT = 10_000
_KEYS_BELOW = int(0.005 * (1 << 64))


def record_path(out: Path, block: int) -> Path:
    """Where a finished block leaves its record."""
    return out / WORK / f"block-{block:05d}.json"


class EncodeBlocks:
    """An encoding worker: writes the shard of each block, and returns its record."""

    def __init__(self, read: Reader, out: Path, min_held_out: int) -> None:
        self._read, self._out, self._min_held_out = read, out, min_held_out
        self._tokenizer = load_tokenizer(out)

    def __call__(self, block: Block | None) -> Iterator[dict[str, Any]]:
        """Read, encode and write one block; its record is written last."""
        if block is None:
            return
        skipped: Counter[str] = Counter()
        documents: list[Ids] = []
        keys: list[int] = []
        text_bytes = 0
        for texts in group_texts(text for unit in block.units for text in self._read(unit, skipped)):
            data = [text.encode() for text in texts]
            text_bytes += sum(map(len, data))
            keys += [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in data]
            documents += self._encode(texts)
        aside = _may_be_held_out(keys, self._min_held_out)
        train = [document for n, document in enumerate(documents) if n not in aside]
        record = {
            "train": shards.write_shard(self._out, f"train-{block.number:05d}", train),
            "aside": shards.write_shard(self._out / WORK, f"aside-{block.number:05d}", [documents[n] for n in aside]),
            "keys": [keys[n] for n in aside],
            "skipped": dict(skipped),
            "text_bytes": text_bytes,
        }
        write_json(record_path(self._out, block.number), record)
        yield record

    def _encode(self, texts: list[str]) -> list[Ids]:
        if isinstance(self._tokenizer, WordPieceTokenizer):
            return list(map(self._tokenizer.encode_to_array, texts))
        ids, ends = self._tokenizer.encode_documents(texts)
        return np.split(ids, ends[:-1])


def _may_be_held_out(keys: Sequence[int], at_least: int) -> dict[int, None]:
    """The places of the low keys and of the lowest ones, in order."""
    lowest = heapq.nsmallest(at_least, range(len(keys)), key=lambda n: (keys[n], n))
    return dict.fromkeys(sorted({*lowest, *(n for n, key in enumerate(keys) if key < _KEYS_BELOW)}))


def finish(out: Path, num_blocks: int, min_held_out: int, extra: dict[str, Any]) -> dict[str, Any]:
    """Choose the held-out documents among those set aside, write the last shards and the manifest.

    Args:
        extra: further entries of the manifest, "sources" among them.

    Raises:
        FormatError: there are not twice as many documents as must be held out.
    """
    records = [read_json(record_path(out, n)) for n in range(num_blocks)]
    skipped = sum((Counter(record["skipped"]) for record in records), Counter[str]())
    num_documents = sum(record[part]["num_documents"] for record in records for part in ("train", "aside"))
    if num_documents < max(1, 2 * min_held_out):
        found = f"{num_documents} (left out: {dict(skipped)})" if skipped else f"{num_documents}"
        expected = f"{max(1, 2 * min_held_out)} documents or more, {min_held_out} of them to hold out"
        raise FormatError(f"{', '.join(extra['sources'])}: expected {expected}, found {found}; "
                          f"add text, or hold out fewer with --min-held-out")  # fmt: skip
    held_out, rest = _divide_aside(out, records, min_held_out)
    tokenizer = load_tokenizer(out)
    manifest = {
        "format": shards.FORMAT,
        "version": shards.VERSION,
        "dtype": shards.PARTS["tokens"].name,
        **extra,
        "num_documents": num_documents,
        "num_tokens": 0,
        "text_bytes": sum(record["text_bytes"] for record in records),
        "skipped": dict(sorted(skipped.items())),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "tokenizer_file": tokenizer_file(out).name,
        "tokenizer_sha256": sha256_file(tokenizer_file(out)),
        "splits": {
            "train": [
                *(record["train"] for record in records),
                shards.write_shard(out, f"train-{num_blocks:05d}", rest),
            ],
            "held-out": [shards.write_shard(out, "held-out-00000", held_out)],
        },
    }
    manifest["num_tokens"] = sum(shard["num_tokens"] for split in manifest["splits"].values() for shard in split)
    write_json(out / shards.MANIFEST, manifest)
    return manifest


def _divide_aside(out: Path, records: Sequence[dict[str, Any]], min_held_out: int) -> tuple[list[Ids], list[Ids]]:
    """The documents set aside: those that are held out, and those that are not."""
    keys = [key for record in records for key in record["keys"]]
    num_low = sum(key < _KEYS_BELOW for key in keys)
    num_held_out = min(max(num_low, min_held_out), MAX_HELD_OUT)
    chosen = set(heapq.nsmallest(num_held_out, range(len(keys)), key=lambda n: (keys[n], n)))
    held_out: list[Ids] = []
    rest: list[Ids] = []
    aside = shards.Shards(out / WORK, [record["aside"] for record in records], tokenizer_fingerprint="")
    for n, ids in enumerate(aside.documents()):
        (held_out if n in chosen else rest).append(ids)
    return held_out, rest
