"""metrics.jsonl is whole, holds each step once, and says what a number is."""

from __future__ import annotations

import math
import time

import pytest
import torch

from electra.files import FormatError
from electra.runlog import Meter, RunLog, held_out_line, progress_line, provenance, read_metrics


def test_records_come_back_as_written(tmp_path):
    log = RunLog(tmp_path / "m.jsonl", step=0)
    log.write(step=1, loss=0.5)
    log.write(step=2, split="held-out", disc_auc=0.75)
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1, "loss": 0.5}, {"step": 2, "split": "held-out", "disc_auc": 0.75}]


def test_on_resume_what_came_after_the_checkpoint_is_cut(tmp_path):
    path = tmp_path / "m.jsonl"
    log = RunLog(path, step=0)
    for step in (1, 2, 3):
        log.write(step=step)
    path.write_text(path.read_text() + '{"step": 4, "lo')  # a kill in the middle of a line
    RunLog(path, step=2).write(step=3, again=1)
    assert read_metrics(path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": 1}]


def test_a_damaged_line_that_is_not_the_last_is_named(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(FormatError, match=r"m.jsonl:2: expected a JSON object, found '\{\"ste'; remove the line"):
        read_metrics(path)


def test_a_number_that_is_not_finite_is_null(tmp_path):
    log = RunLog(tmp_path / "m.jsonl", step=0)
    log.write(step=1, loss=math.nan, grad_norm=math.inf)
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1, "loss": None, "grad_norm": None}]


def test_the_meter_reads_means_an_update_however_many_micro_batches():
    meter = Meter(step=10, tokens_per_update=7)
    for value in (1.0, 2.0, 3.0, 6.0):  # two updates of two micro-batches
        meter.add(loss=torch.tensor(value))
    meter.add(grad_norm=torch.tensor(5.0))
    means = meter.read(12)
    assert (means["loss"], means["grad_norm"]) == (6.0, 2.5)
    meter.add(loss=torch.tensor(4.0))
    assert meter.read(13)["loss"] == 4.0


def test_speed_leaves_out_what_was_not_training():
    meter = Meter(step=0, tokens_per_update=1000)
    time.sleep(0.05)
    meter.leave_out(1000.0)
    assert meter.read(1)["tokens_per_second"] < 0  # the clock was moved by just what was told
    time.sleep(0.05)
    assert 0 < meter.read(2)["tokens_per_second"] < 1000 / 0.05


def test_the_progress_line_shows_both_losses_apart():
    line = progress_line({"masked_lm_loss": 5.25, "disc_loss": 0.3125, "tokens_per_second": 12345.6})
    assert line == "masked_lm_loss 5.250, disc_loss 0.3125, 12,346 tokens/s"


def test_the_held_out_line_puts_each_number_beside_what_it_must_beat():
    names = "hidden_masked_lm_loss unigram_entropy disc_loss disc_base_rate_entropy disc_auc disc_auc_low disc_auc_high"
    line = held_out_line(7, dict(zip(names.split(), (5.5, 5.8, 0.37, 0.38, 0.6, 0.58, 0.62), strict=True)))
    assert "[MASK] 5.500 (unigram entropy 5.800)" in line
    assert "disc_loss 0.3700 (base rate 0.3800), disc_auc 0.600 [0.580, 0.620]" in line


def test_provenance_names_commit_versions_and_command():
    facts = provenance(["train_pretrain.py", "--seed", "3"], torch.device("cpu"))
    assert facts["command"] == "train_pretrain.py --seed 3"
    assert facts["torch"] == torch.__version__
    assert len(str(facts["commit"])) >= 7
