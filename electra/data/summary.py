"""What a person wants to know of a shard folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from electra.data import shards
from electra.data.windows import WindowSampler
from electra.tokenizer.count import MAX_CHUNKS
from electra.tokenizer.train import MAX_CHUNK_BYTES
from electra.tokenizer.wordpiece import load_tokenizer


def summary(manifest: dict[str, Any]) -> str:
    """Return lines for people on a shard folder: its documents, what was left out, its tokenizer."""
    documents, tokens, size = (manifest[name] for name in ("num_documents", "num_tokens", "text_bytes"))
    held_out = sum(shard["num_documents"] for shard in manifest["splits"]["held-out"])
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in manifest["skipped"].items()) or "none"
    lines = [
        f"documents  {documents:,} ({held_out:,} held out); left out: {left_out}",
        f"tokens     {tokens:,}, {tokens / documents:,.1f} a document, {size / tokens:.3f} bytes of text each",
    ]
    first = manifest.get("first_skipped", {})  # which manifests of earlier versions lack
    lines += [f"left out   {reason}: the first is {where}" for reason, where in first.items()]
    if not held_out:
        lines.append("           NOTE: pre-training needs held-out documents; give --min-held-out 1 or more")
    if report := manifest["tokenizer_report"]:
        learned, asked = manifest["vocab_size"], manifest["settings"]["vocab_size"]
        lines.append(
            f"tokenizer  {learned:,} ids learned from {report['bytes'] / 1e6:,.1f} MB: "
            f"{report['characters_per_token']} characters a token, {report['unused_ids']:,} ids unused, "
            f"{report['whole_word_fraction']:.1%} of the text in words of one token"
        )
        if learned < asked:
            why = f"no further pair occurs {manifest['settings']['min_count']} times in the text learned from"
            lines.append(f"           NOTE: {asked:,} ids were asked for, {learned:,} learned: {why}; add text")
        if number := report["left_out_long_chunks"]:
            what = f"strings of more than {MAX_CHUNK_BYTES:,} bytes without a break"
            lines.append(f"           NOTE: not learned from: {number:,} {what}; put spaces or line breaks into them")
        if number := report["left_out_rare_chunks"]:
            lines.append(f"           not learned from: {number:,} words beyond the {MAX_CHUNKS:,} most frequent")
    return "\n".join(lines)


def inspect(folder: Path) -> str:
    """Statistics of a shard folder and three of its windows, for people."""
    manifest = shards.read_manifest(folder)
    tokenizer = load_tokenizer(folder)
    lines = [f"{folder}: {manifest['vocab_size']:,} ids, text from {', '.join(manifest['sources'])}"]
    for split in shards.SPLITS:
        part = shards.open_shards(folder, split)
        lengths = part.lengths()
        lines.append(
            f"{split:<9}{part.num_documents:>12,} documents {part.num_tokens:>15,} tokens; a document has "
            f"{lengths.min():,} to {lengths.max():,}, median {int(np.median(lengths)):,}"
        )
    train = shards.open_shards(folder)
    sampler = WindowSampler(train, special_ids=tokenizer.special_ids, batch_size=3, seq_length=128, seed=0)
    lines += [f"window {n}: {tokenizer.decode(row)!r}" for n, row in enumerate(sampler.sample(0).tolist(), 1)]
    return "\n".join(lines)
