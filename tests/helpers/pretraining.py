"""Small pre-training runs from the command line, for the tests of the script, its faults and its parts."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import train_pretrain
from electra import cli
from electra.pretrain.run import Run, open_run
from electra.training.checkpoint import MODEL_FILE, step_folder
from electra.training.log import read_metrics
from electra.training.ranks import Ranks

FORK = multiprocessing.get_context("forkserver")  # its children need not import torch again
FORK.set_forkserver_preload(["tests.helpers.pretraining"])

ALONE = Ranks(0, 1, torch.device("cpu"))
SHAPE = "--num-layers 2 --hidden-size 26 --num-heads 2 --intermediate-size 37 --embedding-size 11".split()
SCHEDULE = "--num-train-steps 8 --num-warmup-steps 2 --batch-size 8 --seq-length 23 --learning-rate 0.01".split()
OFTEN = "--log-every 1 --eval-every 4 --checkpoint-every 2 --keep-checkpoints 9 --eval-rows 16 --precision fp32".split()
NO_DROPOUT = ("--hidden-dropout-prob", "0", "--attention-dropout-prob", "0")


def arguments(data: Path, run_dir: Path, *more: str) -> list[str]:
    """The command line of a run of eight updates."""
    return ["--data", str(data), "--run-dir", str(run_dir), "--device", "cpu", *SHAPE, *SCHEDULE, *OFTEN, *more]


def train(data: Path, run_dir: Path, *more: str) -> int:
    """Make eight updates; returns the exit code."""
    return train_pretrain.main(arguments(data, run_dir, *more))


def opened(data: Path, run_dir: Path, *more: str, ranks: Ranks = ALONE) -> Run:
    """The run of `arguments`, opened and not trained."""
    config, shape, _ = train_pretrain.parse(arguments(data, run_dir, *more))
    return open_run(config, shape, ranks)


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The error of a refused command."""
    capsys.readouterr()
    return error_of(capsys, lambda: train_pretrain.main(argv))


def error_of(capsys: pytest.CaptureFixture[str], main: Callable[[], Any]) -> str:
    """The error of a mistake, which must be one line on stderr with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ")[:-1]


def weights(run_dir: Path, step: int) -> bytes:
    return (step_folder(run_dir, step) / MODEL_FILE).read_bytes()


def training_records(run_dir: Path) -> list[dict[str, Any]]:
    return [record for record in read_metrics(run_dir) if "split" not in record]


def held_out_records(run_dir: Path) -> list[dict[str, Any]]:
    return [record for record in read_metrics(run_dir) if "split" in record]
