"""The commands of the pages run, in their order, in one folder, as a newcomer would run them."""

from __future__ import annotations

import lzma
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from electra.__main__ import COMMANDS
from electra.config import EncoderConfig
from electra.data.demo_text import standard_library_documents
from electra.hub import folders as hub
from tests.conftest import ROOT
from tests.helpers.archives import inner_archive, tar_of
from tests.helpers.glue_files import make_checkpoint, reviews
from tests.helpers.readme import commands

NOT_RUN = {
    "pip install": "the network",
    "pytest": "this is it",
    "torchrun": "several GPUs",
    "python -m electra glue": "the network, and eleven official files",
    "python train_glue.py --task": "official files, and hours",
    "python -m electra predict --checkpoint": "a model of RTE",
}
"""Commands that are only parsed (by test_readme), by how they begin, and what they need."""

SHORTER = {
    "python train_pretrain.py": "--stop-after 2 --batch-size 4 --eval-rows 4 --num-threads 1",
    "python train_glue.py --train-file": "--num-epochs 1",
}
"""What is added to commands that would take hours."""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the scripts and all that the pages take for granted: texts, an archive, a hub folder, a task."""
    for name in ("train_pretrain.py", "train_glue.py", ".records"):
        (tmp_path / name).symlink_to(ROOT / name)
    documents = list(standard_library_documents())[:400]
    (tmp_path / "my_text").mkdir()
    for n, text in enumerate(documents):
        (tmp_path / f"my_text/{n}.txt").write_text(text)
    archive = tar_of({"openwebtext/urlsf_subset00-1_data.xz": inner_archive(documents)})
    (tmp_path / "openwebtext.tar.xz").write_bytes(lzma.compress(archive, preset=0))
    parts, _ = hub.export(make_checkpoint(tmp_path / "small", shape=EncoderConfig()), tmp_path / "hub")
    parts["discriminator"].rename(tmp_path / "electra-small-discriminator")
    for name, seed in (("train", 1), ("dev", 2), ("new", 3)):
        rows = [f'"{text}",{("sad", "glad")[praises]}' for text, praises in reviews(40, seed)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,mood", *rows]) + "\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_pages_run_in_their_order(desk: Path):
    ran: list[str] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for command in [*commands("README.md"), *commands("electra/README.md")]:
        if any(command.startswith(start) for start in NOT_RUN):
            continue
        added = " ".join(flags for start, flags in SHORTER.items() if command.startswith(start))
        words = [sys.executable, *shlex.split(f"{command} {added}")[1:]]
        done = subprocess.run(words, cwd=desk, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        ran.append(command)
    assert {words.split()[3] for words in ran if words.startswith("python -m electra ")} == COMMANDS.keys() - {"glue"}
