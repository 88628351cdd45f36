"""What training changes: the state that a checkpoint restores; and whether a checkpoint is of the same run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from electra.cli import differences, from_dict
from electra.config import EncoderConfig, PretrainConfig
from electra.files import FormatError, read_json
from electra.training.checkpoint import (
    MODEL_FILE,
    checkpoints,
    json_bytes,
    load_weights,
    read_tensors,
    save_checkpoint,
    step_folder,
    torch_bytes,
)

MILESTONES = "milestones"
STATE_FILE = "training_state.pt"


@dataclasses.dataclass
class TrainingState:
    """Everything that training changes and a checkpoint restores. Randomness is not part of it: see `seeding`."""

    settings: Mapping[str, Any]  # what config.json holds
    tokenizer_file: Path  # copied into every checkpoint
    model: nn.Module
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    num_skipped: Tensor | float = 0.0  # updates whose gradient was not finite; a scalar on the device once counted
    num_skipped_in_a_row: Tensor | float = 0.0
    step: int = 0  # updates attempted
    elapsed_seconds: float = 0.0  # training time up to `step`, over all starts

    def count_update(self, skipped: Tensor) -> None:
        """Count one attempted update; `skipped` is 1.0 or 0.0 on the model's device and is not waited for."""
        self.step += 1
        self.num_skipped = self.num_skipped + skipped
        self.num_skipped_in_a_row = (self.num_skipped_in_a_row + 1) * skipped

    def _weights(self) -> dict[str, bytes]:
        return {
            "config.json": json_bytes(self.settings),
            self.tokenizer_file.name: self.tokenizer_file.read_bytes(),
            MODEL_FILE: torch_bytes(self.model.state_dict()),
        }

    def save(self, run_dir: Path, keep: int) -> Path:
        """Write this step's checkpoint, remove all but the newest `keep`, and return its folder."""
        loop_state = {
            "step": self.step,
            "elapsed_seconds": self.elapsed_seconds,
            "num_skipped": float(self.num_skipped),
            "num_skipped_in_a_row": float(self.num_skipped_in_a_row),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        folder = step_folder(run_dir, self.step)
        contents = {**self._weights(), STATE_FILE: torch_bytes(loop_state)}
        save_checkpoint(folder, contents, {"step": self.step})
        for old in checkpoints(run_dir)[keep:]:
            shutil.rmtree(old)
        return folder

    def save_milestone(self, run_dir: Path) -> None:
        """Write this step's weights to be kept for good, under `milestones/`, unless this run did before."""
        folder = step_folder(run_dir / MILESTONES, self.step)
        contents = self._weights()
        if folder.exists() and (folder / MODEL_FILE).read_bytes() != contents[MODEL_FILE]:
            shutil.rmtree(folder)  # of a run that began here under other settings and left no checkpoint
        if not folder.exists():
            save_checkpoint(folder, contents, {"step": self.step})

    def restore(self, folder: Path) -> None:
        """Load a checkpoint's weights, optimizer and loop state, strictly."""
        if not (folder / STATE_FILE).is_file():
            raise FormatError(f"{folder}: expected {STATE_FILE}, found weights only; resume from another one")
        load_weights(folder, self.model)
        saved = read_tensors(folder / STATE_FILE)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        for name in ("step", "elapsed_seconds", "num_skipped", "num_skipped_in_a_row"):
            setattr(self, name, saved[name])


def check_same_run(checkpoint: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint of other settings, data or tokenizer.

    Args:
        checkpoint: its folder.
        settings: "encoder" and "pretrain" as dicts, "shards" and "tokenizer" fingerprints.

    Raises:
        FormatError: names each difference.
    """
    path = checkpoint / "config.json"
    saved, found = read_json(path, encoder=dict, pretrain=dict, tokenizer=str, shards=str), []
    for key, config_class in (("encoder", EncoderConfig), ("pretrain", PretrainConfig)):
        found += differences(from_dict(config_class, saved[key], path), from_dict(config_class, settings[key], path))
    for key in ("tokenizer", "shards"):
        if saved[key] != settings[key]:
            found.append(f"{key} fingerprint is {saved[key][:12]}, asked for {settings[key][:12]}")
    if found:
        raise FormatError(
            f"{checkpoint.parent}: expected the settings this run began with, found {'; '.join(found)}; "
            "repeat its command, or choose another --run-dir"
        )
