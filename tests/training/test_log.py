"""metrics.jsonl has each step once; its numbers reach the terminal and the services; provenance."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import types

import pytest
import torch

from electra.training import log as run_log
from electra.training.log import RunLog, held_out_line, provenance, read_metrics

TRAINING = {
    "masked_lm_loss": 5.25,
    "disc_loss": 0.3125,
    "tokens_per_second": 12345.6,
    "peak_memory_bytes": 3 * 2**30,
    "learning_rate": 0.0005,
}
HELD_OUT_NAMES = "masked_only_lm_loss unigram_loss disc_loss disc_base_rate_entropy disc_auc disc_auc_low"
HELD_OUT = dict.fromkeys([*HELD_OUT_NAMES.split(), "disc_auc_high"], 0.5)


def test_on_resume_what_came_after_the_checkpoint_is_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = RunLog(tmp_path, step=0, last_step=9)
    for step in (1, 2, 3):
        log.training(step, TRAINING)
        log.held_out(step, HELD_OUT)
    path.write_text(path.read_text() + '{"step": 4, "lo')  # a kill in the middle of a line
    resumed = RunLog(tmp_path, step=2, last_step=9)
    assert [record["step"] for record in resumed.evaluations] == [1, 2]
    resumed.training(3, TRAINING)
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 1, 2, 2, 3]


def test_without_a_terminal_each_record_is_a_line_with_the_time_left(tmp_path, capsys, monkeypatch):
    log = RunLog(tmp_path, step=10, last_step=30)
    now = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log.training(15, TRAINING)  # 15 more updates at 61 seconds for 5
    captured = capsys.readouterr()
    assert captured.out.startswith("update 15 of 30: masked_lm_loss 5.250")
    assert captured.out.endswith(", 03:03 left\n")
    assert captured.err == ""


def test_a_record_that_cannot_be_written_names_the_file(tmp_path):
    log = RunLog(tmp_path, step=0, last_step=9)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*/metrics.jsonl'"):
        log.training(1, TRAINING)


def test_other_ranks_write_and_say_nothing(tmp_path, capsys):
    log = RunLog(tmp_path, step=0, last_step=9, enabled=False)
    log.training(1, TRAINING)
    log.say("hello")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_a_service_that_is_not_installed_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(FileNotFoundError, match=r"--track wandb: the package wandb is not installed; pip install"):
        RunLog(tmp_path, step=0, last_step=9, track="wandb")


def test_records_are_mirrored_as_plain_scalars(tmp_path, monkeypatch):
    mirrored = []
    run = types.SimpleNamespace(log=lambda scalars, step: mirrored.append((step, scalars)))
    init = lambda **settings: asked.update(settings) or run  # noqa: E731
    asked: dict[str, object] = {}
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    log = RunLog(tmp_path, step=0, last_step=9, track="wandb")
    assert asked == {"project": "electra", "name": tmp_path.name, "dir": tmp_path, "resume": "allow"}
    log.training(1, TRAINING)
    log.held_out(2, HELD_OUT)
    assert mirrored == [(1, TRAINING), (2, {f"held-out/{name}": 0.5 for name in HELD_OUT})]


def test_tensorboard_gets_each_number_at_its_step(tmp_path, monkeypatch):
    mirrored = []
    writer = types.SimpleNamespace(add_scalar=lambda name, value, step: mirrored.append((name, value, step)))
    module = types.SimpleNamespace(SummaryWriter=lambda folder: mirrored.append(folder) or writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    RunLog(tmp_path, step=0, last_step=9, track="tensorboard").held_out(2, HELD_OUT)
    assert mirrored == [tmp_path, *((f"held-out/{name}", 0.5, 2) for name in HELD_OUT)]


def test_the_held_out_line_puts_each_number_beside_what_it_must_beat():
    line = held_out_line(7, dict(zip(HELD_OUT, (5.5, 5.8, 0.37, 0.38, 0.6, 0.58, 0.62), strict=True)))
    assert "[MASK] 5.500 (unigrams 5.800)" in line
    assert "disc_loss 0.3700 (base rate 0.3800), disc_auc 0.600 [0.580, 0.620]" in line


def test_provenance_names_commit_versions_and_command():
    facts = provenance(["train_pretrain.py", "--seed", "3"], torch.device("cpu"))
    assert facts["command"] == "train_pretrain.py --seed 3"
    assert facts["torch"] == torch.__version__
    assert len(str(facts["commit"])) >= 7


def test_the_commit_says_whether_files_differ_from_it_and_is_unknown_outside_a_checkout(tmp_path, monkeypatch):
    code = tmp_path / "code.py"
    monkeypatch.setattr(run_log, "__file__", str(code))
    assert run_log.commit() == "unknown"
    code.write_text("1")
    for command in ("init -q", "add code.py", "-c user.name=a -c user.email=b -c commit.gpgsign=false commit -q -m c"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    clean = run_log.commit()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    code.write_text("2")
    assert run_log.commit() == f"{clean}-dirty"


def test_provenance_counts_the_devices_of_all_ranks(monkeypatch):
    assert provenance([], torch.device("cpu"))["num_devices"] == 1
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    assert provenance([], torch.device("cpu"))["num_devices"] == 3
