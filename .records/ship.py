"""`python .records/ship.py RUN electra/pretrained/mini`: a run's newest weights in 16 bits, as the model that ships."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from electra.training.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    read_tensors,
    resolve_checkpoint,
    save_checkpoint,
    torch_bytes,
)

run, shipped = map(Path, sys.argv[1:])
source = resolve_checkpoint(run)
weights = {name: tensor.half() for name, tensor in read_tensors(source / MODEL_FILE).items()}
assert all(tensor.isfinite().all() for tensor in weights.values()), "a weight is too large for float16"
kept = [file for file in source.iterdir() if file.name in (CONFIG_FILE, "tokenizer.json")]
card = (shipped / "README.md").read_bytes() if (shipped / "README.md").exists() else b""
step = int(source.name.removeprefix("step-"))
save_checkpoint(
    shipped, {**{file.name: file.read_bytes() for file in kept}, MODEL_FILE: torch_bytes(weights)}, {"step": step}
)
(shipped / "README.md").write_bytes(card)
size = sum(file.stat().st_size for file in shipped.iterdir()) / 1e6
print(f"{shipped}: {source}, {sum(map(torch.numel, weights.values())):,} numbers, {size:.1f} MB")
