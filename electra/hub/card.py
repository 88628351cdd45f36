"""Model card of an export: recipe, data, tokens seen, limits; results and licence are left to the publisher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from electra.cli import build
from electra.config import EncoderConfig, FinetuneConfig
from electra.scores.tables import bullets
from electra.training.checkpoint import MODEL_FILE

NOT_RECORDED = "not recorded"
PURPOSES = {
    "discriminator": "tells for each token of a text whether it looks replaced; other tasks are fine-tuned from it",
    "generator": "predicts masked tokens; it only serves to train the discriminator",
    "classifier": "was fine-tuned on one task",
    "encoder": "turns a text into one vector for each token; a head must be added and trained",
}
RESULTS = "TO BE FILLED IN: the tables that `python -m electra report` writes, with their protocols."
LICENCE = (
    "TO BE FILLED IN by whoever publishes this model: the licence of the texts it was trained on, what that allows, "
    "and the licence of these weights. This package cannot know them."
)


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


def limit_lines(config: Mapping[str, Any], shape: EncoderConfig, step: int) -> list[str]:
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
    return [*lines, "biases of its training text and safety were not examined"]


def model_card(part: str, config: Mapping[str, Any], manifest: Mapping[str, Any], shape: EncoderConfig) -> str:
    """The card of one exported part as Markdown.

    Args:
        part: a key of `PURPOSES`.
        config, manifest, shape: of the checkpoint; `shape` is its encoder's.
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
        "Results": RESULTS,
        "Limits": bullets(limit_lines(config, shape, manifest["step"])),
        "Licence": LICENCE,
    }
    text = f"# ELECTRA {part}\n\nThis {part} {PURPOSES[part]}. Made with electra-replication, in pure PyTorch."
    return text + "".join(f"\n\n## {title}\n\n{body}" for title, body in sections.items()) + "\n"
