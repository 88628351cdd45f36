"""Model card of an export: recipe, data, tokens seen, results with their protocols, limits, licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from electra.cli import build
from electra.config import EncoderConfig, FinetuneConfig
from electra.glue.results import Record, describe, read_results, summarize_results
from electra.scores.tables import NOT_MEASURED, bullets, markdown, spread
from electra.training.checkpoint import MODEL_FILE

NOT_RECORDED = "not recorded"
PURPOSES = {
    "discriminator": "tells for each token of a text whether it looks replaced; other tasks are fine-tuned from it",
    "generator": "predicts masked tokens; it only serves to train the discriminator",
    "classifier": "was fine-tuned on one task",
    "encoder": "turns a text into one vector for each token; a head must be added and trained",
}
LICENCE = (
    "TO BE FILLED IN by whoever publishes this model: the licence of the texts it was trained on, what that allows, "
    "and the licence of these weights. This package cannot know them."
)


def results_of(config: Mapping[str, Any], manifest: Mapping[str, Any], folder: Path | None) -> list[Record]:
    """Records in a results folder of fine-tuning that started from these weights.

    Raises:
        FileNotFoundError: there are none.
    """
    if folder is None:
        return []
    weights = manifest.get("started_from", manifest["sha256"][MODEL_FILE])
    found = [
        record
        for record in read_results(folder)
        if record["checkpoint_sha256"] == weights
        and not record["from_scratch"]
        and record["task"] == config.get("task", record["task"])
    ]
    if not found:
        raise FileNotFoundError(
            f"{folder}: expected results that started from weights {weights[:12]}, found none; "
            "name the folder that train_glue.py wrote for them, or leave --results out"
        )
    return found


def recipe_lines(config: Mapping[str, Any], step: int) -> list[str]:
    """Recipe, updates made, tokens seen and settings of a checkpoint."""
    settings = config.get("pretrain") or config.get("finetune")
    if not settings:
        return [f"{NOT_RECORDED}: imported weights say nothing of how they were trained"]
    recipe = build(FinetuneConfig, {"recipe": settings["recipe"]}).recipe if "recipe" in settings else NOT_RECORDED
    lines = [f"recipe `{recipe}`, updates made: {step:,}"]
    if {"num_train_steps", "batch_size", "seq_length"} <= settings.keys():
        lines[0] += f" of {settings['num_train_steps']:,}"
        tokens = step * settings["batch_size"] * settings["seq_length"]
        lines.append(f"tokens seen: {tokens:,} (updates x {settings['batch_size']} rows x {settings['seq_length']})")
    left_out = {"data", "run_dir", "device", "track", "recipe"}
    values = [f"{name} {value}" for name, value in settings.items() if name not in left_out]
    return [*lines, f"settings: {', '.join(values)}"]


def result_tables(results: Sequence[Record]) -> str:
    """A table for each protocol: mean, sample deviation and number of seeds of every metric."""
    parts = []
    for protocol in dict.fromkeys(record["protocol_id"] for record in results):
        records = [record for record in results if record["protocol_id"] == protocol]
        rows = [
            [task, metric, spread(found)]
            for task, result in summarize_results(records)["tasks"].items()
            for metric, found in result["metrics"].items()
        ]
        devices = ", ".join(sorted({record["provenance"]["device"] for record in records}))
        text = f"Protocol: {describe(records[0])}; on {devices}."
        parts.append(f"{text}\n\n{markdown(['task', 'metric', 'mean ± sd (seeds), points'], rows)}")
    return "\n\n".join(parts) or f"{NOT_MEASURED}: no results of these weights were given (`--results`)."


def limits(config: Mapping[str, Any], shape: EncoderConfig, step: int) -> list[str]:
    """Facts that a user must know before using the weights."""
    settings = config.get("pretrain") or {}
    lines = []
    if (trained := settings.get("seq_length", shape.max_position_embeddings)) < shape.max_position_embeddings:
        lines.append(
            f"positions from {trained} on, of {shape.max_position_embeddings}, were never trained: "
            f"keep texts within {trained} tokens"
        )
    if step < settings.get("num_train_steps", 0):
        lines.append("a snapshot taken before the end of the schedule: its learning rate had not come down to 0")
    if settings:
        lines.append("one pre-training seed; token type 1 was never seen in pre-training")
    unknown = "biases of its training text and safety were not examined; quality outside the tables above is not known"
    return [*lines, unknown]


def model_card(
    part: str, config: Mapping[str, Any], manifest: Mapping[str, Any], shape: EncoderConfig, results: Sequence[Record]
) -> str:
    """The card of one exported part as Markdown.

    Args:
        part: a key of `PURPOSES`.
        config, manifest, shape: of the checkpoint; `shape` is its encoder's.
        results: records of fine-tuning that started from these weights.
    """
    data = [
        f"token shards, fingerprint: {config.get('shards', NOT_RECORDED)}",
        f"tokenizer, fingerprint: {config.get('tokenizer', NOT_RECORDED)} ({shape.vocab_size:,} words)",
        f"weights, SHA-256 of the checkpoint's model.pt: {manifest['sha256'][MODEL_FILE]}",
    ]
    if source := manifest.get("started_from"):
        data.append(f"started from the weights with SHA-256 {source}")
    sections = {
        "Recipe": bullets(recipe_lines(config, manifest["step"])),
        "Data": bullets(data),
        "Results": result_tables(results),
        "Limits": bullets(limits(config, shape, manifest["step"])),
        "Licence": LICENCE,
    }
    text = f"# ELECTRA {part}\n\nThis {part} {PURPOSES[part]}. Made with electra-replication, in pure PyTorch."
    return text + "".join(f"\n\n## {title}\n\n{body}" for title, body in sections.items()) + "\n"
