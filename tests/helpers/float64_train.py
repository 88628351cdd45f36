"""train_pretrain.py in float64 for tests under torchrun; DIE_AT_STEP stops one rank."""

from __future__ import annotations

import os
import sys

import torch

import train_pretrain
from electra import cli
from electra.training.state import TrainingState


def main() -> int:
    """Run the script with the rest of the command line."""
    torch.set_default_dtype(torch.float64)
    count_update = TrainingState.count_update

    def dying(self: TrainingState, skipped: torch.Tensor) -> None:
        count_update(self, skipped)
        if os.environ.get("RANK") == "1" and self.step == int(os.environ.get("DIE_AT_STEP", "-1")):
            raise RuntimeError("rank 1 was told to die")

    TrainingState.count_update = dying  # type: ignore[method-assign]
    return train_pretrain.main(sys.argv[1:])


if __name__ == "__main__":
    cli.run(main)
