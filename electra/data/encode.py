"""Encode a corpus into token shards: a shard a block, held-out documents set apart, the manifest last.

Every document has a key, the first 64 bits of the SHA-256 of its text. Held out are the documents with the lowest
keys: 0.5 % of all keys, but at least 50 (`min_held_out`) and at most 10,000 documents; those equal to the last of them
go with it. So equal documents are always in one split, and the split is the same for every tokenizer. A block cannot
know what the others hold, so it sets all documents aside that may be chosen; those that are not become the last
training shard.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from electra.data import shards
from electra.data.corpus import Tally
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
        tally = Tally()
        documents: list[Ids] = []
        keys: list[int] = []
        text_bytes = 0
        for texts in group_texts(text for unit in block.units for text in self._read(unit, tally)):
            data = [text.encode() for text in texts]
            text_bytes += sum(map(len, data))
            keys += [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") for text in data]
            documents += self._encode(texts)
        may_be_held_out = _is_low(keys, self._min_held_out)
        aside = [n for n, is_low in enumerate(may_be_held_out) if is_low]
        train = [document for document, is_low in zip(documents, may_be_held_out, strict=True) if not is_low]
        record = {
            "train": shards.write_shard(self._out, f"train-{block.number:05d}", train),
            "aside": shards.write_shard(self._out / WORK, f"aside-{block.number:05d}", [documents[n] for n in aside]),
            "keys": [keys[n] for n in aside],
            "tally": vars(tally),
            "text_bytes": text_bytes,
        }
        write_json(record_path(self._out, block.number), record)
        yield record

    def _encode(self, texts: list[str]) -> list[Ids]:
        if isinstance(self._tokenizer, WordPieceTokenizer):
            return list(map(self._tokenizer.encode_to_array, texts))
        return self._tokenizer.encode_documents(texts)


def _is_low(keys: Sequence[int], at_least: int, at_most: int | None = None) -> list[bool]:
    """Whether each key is in the lowest 0.5 % or among the lowest ones; equal keys are so together."""
    num_low = max(at_least, sum(key < _KEYS_BELOW for key in keys))
    lowest = heapq.nsmallest(num_low if at_most is None else min(num_low, at_most), keys)
    return [bool(lowest) and key <= lowest[-1] for key in keys]


def finish(out: Path, num_blocks: int, min_held_out: int, separator: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Choose the held-out documents among those set aside, write the last shards and the manifest.

    Args:
        separator: what must have stood between documents somewhere, unless it is empty.
        extra: further entries of the manifest, "sources" among them.

    Raises:
        FormatError: there are not twice as many documents as are held out, or no separator.
    """
    sources = ", ".join(extra["sources"])
    records = [read_json(record_path(out, n), tally=dict, keys=list, text_bytes=int) for n in range(num_blocks)]
    tally = Tally()
    for record in records:
        tally.add(Tally(**record["tally"]))
    if separator and not tally.num_separators:
        expected = f"the document separator {separator!r} in some .txt file, found it in none"
        raise FormatError(f"{sources}: expected {expected}; give another --document-separator, and another --out")
    num_documents = sum(record[part]["num_documents"] for record in records for part in ("train", "aside"))
    held_out, rest = _divide_aside(out, records, min_held_out)
    num_held_out = max(min_held_out, len(held_out))
    if num_documents < max(1, 2 * num_held_out):
        together = " together (some are equal)" * (len(held_out) > min_held_out)
        expected = f"{max(1, 2 * num_held_out)} documents or more, {num_held_out} of them to hold out{together}"
        found = f"{num_documents} (left out: {dict(tally.left_out)})" if tally.left_out else f"{num_documents}"
        remedy = "add text, or hold out fewer with --min-held-out and another --out"
        raise FormatError(f"{sources}: expected {expected}, found {found}; {remedy}")
    tokenizer = load_tokenizer(out)
    splits = {
        "train": [*(record["train"] for record in records), shards.write_shard(out, f"train-{num_blocks:05d}", rest)],
        "held-out": [shards.write_shard(out, "held-out-00000", held_out)],
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


def _divide_aside(out: Path, records: Sequence[dict[str, Any]], min_held_out: int) -> tuple[list[Ids], list[Ids]]:
    """The documents set aside: those that are held out, and those that are not."""
    keys = [key for record in records for key in record["keys"]]
    aside = shards.Shards(out / WORK, [record["aside"] for record in records], tokenizer_fingerprint="")
    split: dict[bool, list[Ids]] = {True: [], False: []}
    for ids, is_held_out in zip(aside.documents(), _is_low(keys, min_held_out, MAX_HELD_OUT), strict=True):
        split[is_held_out].append(ids)
    return split[True], split[False]
