"""Write the model card of an export: recipe, data, limits. The publisher fills in the results and the licence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from electra.cli import build
from electra.config import EncoderConfig, FinetuneConfig
from electra.scores.tables import bullets
from electra.training.checkpoint import MODEL_FILE

PURPOSES = {
    "discriminator": "tells for each token of a text whether it looks replaced; other tasks are fine-tuned from it",
    "generator": "predicts masked tokens; it only serves to train the discriminator",
    "classifier": "was fine-tuned on one task",
    "encoder": "turns a text into one vector for each token; a head must be added and trained",
}
RESULTS = "TO BE FILLED IN: the tables that `python -m electra report` writes, with their protocols."
LICENCE = "TO BE FILLED IN: the licence of the training texts, what it allows, and the licence of these weights."
PRIVATE = {"data", "run_dir", "device", "track"}
"""Settings that the card leaves out, because they name folders and devices of the training machine."""


def model_card(part: str, config: Mapping[str, Any], manifest: Mapping[str, Any], shape: EncoderConfig) -> str:
    """Return the Markdown card of one exported part.

    Args:
        part: a key of `PURPOSES`.
        config, manifest, shape: settings, manifest and encoder shape of the checkpoint.
    """
    step, num_positions = manifest["step"], shape.max_position_embeddings
    pretrain = config.get("pretrain") or {}
    settings = pretrain or config.get("finetune") or {}
    if "recipe" in settings:  # older checkpoints have former names of recipes
        settings = {**settings, "recipe": build(FinetuneConfig, {"recipe": settings["recipe"]}).recipe}
    values = [f"{name} {value}" for name, value in settings.items() if name not in PRIVATE]
    recipe = [f"updates made: {step:,}", f"settings: {', '.join(values)}"] if values else ["not recorded: imported"]
    limits = ["biases of the training text and safety were not examined"]
    if "num_train_steps" in pretrain:
        length = pretrain["seq_length"]
        recipe[0] += f" of {pretrain['num_train_steps']:,}"
        earlier = ", and those of the weights that it started from" if pretrain.get("init_from") else ""
        recipe.append(f"tokens seen: {step * pretrain['batch_size'] * length:,}{earlier}")
        limits.append("one pre-training seed; token type 1 was never seen in pre-training")
        if length < num_positions and not earlier:
            limits.append(f"positions {length} to {num_positions - 1} were never trained: use at most {length} tokens")
        if step < pretrain["num_train_steps"]:
            limits.append("a snapshot before the end of the schedule: its learning rate had not come down to 0")
    data = [
        *(f"{name}, fingerprint: {config.get(name, 'not recorded')}" for name in ("shards", "tokenizer")),
        f"weights, SHA-256 of the checkpoint's model.pt: {manifest['sha256'][MODEL_FILE]}",
    ]
    if "started_from" in manifest:
        data.append(f"weights that training started from, SHA-256: {manifest['started_from']}")
    sections = {
        "Recipe": bullets(recipe),
        "Data": bullets(data),
        "Results": RESULTS,
        "Limits": bullets(limits),
        "Licence": LICENCE,
    }
    text = f"# ELECTRA {part}\n\nThis {part} {PURPOSES[part]}. Made with electra-replication, in pure PyTorch."
    return text + "".join(f"\n\n## {title}\n\n{body}" for title, body in sections.items()) + "\n"
