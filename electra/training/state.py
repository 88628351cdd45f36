"""The state that training changes and a checkpoint restores; the check that a checkpoint belongs to the same run."""

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
from electra.files import FormatError, json_bytes, read_json
from electra.training import checkpoint


@dataclasses.dataclass
class TrainingState:
    """Everything that training changes and a checkpoint restores, except randomness (see `seeding`)."""

    settings: Mapping[str, Any]  # the content of config.json
    tokenizer_file: Path  # copied into every checkpoint
    model: nn.Module
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    num_skipped: Tensor | float = 0.0  # updates whose gradient was not finite; a tensor after the first update
    num_skipped_in_a_row: Tensor | float = 0.0
    step: int = 0  # updates attempted
    elapsed_seconds: float = 0.0  # training time up to `step`, over all starts

    def count_update(self, skipped: Tensor) -> None:
        """Count one attempted update, without a wait for the device; `skipped` is a scalar, 1.0 or 0.0."""
        self.step += 1
        self.num_skipped = self.num_skipped + skipped
        self.num_skipped_in_a_row = (self.num_skipped_in_a_row + 1) * skipped

    def _weights(self) -> dict[str, bytes]:
        return {
            checkpoint.CONFIG_FILE: json_bytes(self.settings),
            self.tokenizer_file.name: self.tokenizer_file.read_bytes(),
            checkpoint.MODEL_FILE: checkpoint.torch_bytes(self.model.state_dict()),
        }

    def save(self, run_dir: Path, keep: int) -> Path:
        """Write this step's checkpoint, delete all but the newest `keep`, and return its folder."""
        loop_state = {
            "step": self.step,
            "elapsed_seconds": self.elapsed_seconds,
            "num_skipped": float(self.num_skipped),
            "num_skipped_in_a_row": float(self.num_skipped_in_a_row),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        folder = checkpoint.step_folder(run_dir, self.step)
        contents = {**self._weights(), checkpoint.STATE_FILE: checkpoint.torch_bytes(loop_state)}
        checkpoint.save_checkpoint(folder, contents, {"step": self.step})
        for old in checkpoint.checkpoints(run_dir)[keep:]:
            shutil.rmtree(old)
        return folder

    def save_milestone(self, run_dir: Path) -> None:
        """Write this step's weights under `milestones/`, where they are never deleted."""
        folder = checkpoint.step_folder(run_dir / checkpoint.MILESTONES, self.step)
        checkpoint.save_checkpoint(folder, self._weights(), {"step": self.step})

    def restore(self, folder: Path) -> None:
        """Load a checkpoint's weights, optimizer and loop state."""
        if not (folder / checkpoint.STATE_FILE).is_file():
            raise FormatError(f"{folder}: no {checkpoint.STATE_FILE}, only weights; resume from another checkpoint")
        checkpoint.load_weights(folder, self.model)
        saved = checkpoint.read_tensors(folder / checkpoint.STATE_FILE)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        for name in ("step", "elapsed_seconds", "num_skipped", "num_skipped_in_a_row"):
            setattr(self, name, saved[name])


def check_same_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that a checkpoint or run has these settings, data and tokenizer; FormatError names all differences."""
    path = folder / checkpoint.CONFIG_FILE
    saved, found = read_json(path, encoder=dict, pretrain=dict, tokenizer=str, shards=str), []
    for key, config_class in (("encoder", EncoderConfig), ("pretrain", PretrainConfig)):
        found += differences(from_dict(config_class, saved[key], path), from_dict(config_class, settings[key], path))
    names = [name for name in ("tokenizer", "shards", "held_out") if name in saved]  # old runs have no "held_out"
    found += differences(*({name: config[name][:12] for name in names} for config in (saved, settings)))
    if found:
        problem = f"{settings['pretrain']['run_dir']}: this run began with other settings: {'; '.join(found)}"
        raise FormatError(f"{problem}; repeat that run's command, or choose another --run-dir")
