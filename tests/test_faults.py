"""A long run survives kills, signals, full disks, damaged files, numbers that are not finite, and a collapse."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import train_pretrain
from electra import cli
from electra.data.prepare import prepare_documents
from electra.pretrain.evaluation import HeldOut
from electra.pretrain.objective import OBJECTIVES
from electra.training.checkpoint import checkpoints, step_folder, verify
from electra.training.state import TrainingState
from tests.conftest import ROOT
from tests.helpers.pretraining import (
    FORK,
    NO_DROPOUT,
    arguments,
    failure,
    held_out_records,
    train,
    training_records,
    weights,
)


def quiet_run(argv: list[str]) -> None:
    """Run the script in a child process; its output is discarded."""
    torch.set_num_threads(1)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        cli.run(lambda: train_pretrain.main(argv))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_fifty_kills_at_random_moments_the_weights_equal_an_undisturbed_runs(tiny_data, tmp_path):
    num_steps = "160"
    more = ("--num-train-steps", num_steps, "--checkpoint-every", "1", "--eval-every", "40", "--keep-checkpoints", "3")
    train(tiny_data, tmp_path / "straight", *more)
    argv = arguments(tiny_data, tmp_path / "killed", *more)
    draw, kills = random.Random(0), 0
    for start in itertools.count():
        child = FORK.Process(target=quiet_run, args=(argv,))
        child.start()
        # up to four updates with their saves: about 60 % of the time goes into writing and renaming
        child.join(draw.uniform(0.0, 0.25) + 0.2 if kills < 55 else 300)
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            kills += 1
        assert child.exitcode in (0, -signal.SIGKILL), f"start {start}"
        if child.exitcode == 0:
            break
    assert kills >= 50
    last = int(num_steps)
    assert weights(tmp_path / "killed", last) == weights(tmp_path / "straight", last)
    assert [record["step"] for record in training_records(tmp_path / "killed")] == list(range(1, last + 1))


def kill_self_before(function: Callable[..., object], number: int) -> Callable[..., object]:
    """A function that sends a signal to this process at its first call."""
    calls = itertools.count()

    def wrapped(*args: object, **kwargs: object) -> object:
        if next(calls) == 0:
            os.kill(os.getpid(), number)
        return function(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize(
    ("moment", "number", "code", "last"),
    [("evaluation", signal.SIGTERM, 143, 5), ("save", signal.SIGINT, 130, 3), ("accumulation", signal.SIGTERM, 143, 1)],
)
def test_a_signal_finishes_the_update_saves_and_exits_with_its_code(
    tiny_data, tmp_path, straight_weights, monkeypatch, moment, number, code, last, capsys
):
    eval_every = ("--eval-every", "1" if moment == "accumulation" else "4")
    with monkeypatch.context() as patch:
        if moment == "evaluation":
            patch.setattr(HeldOut, "evaluate", kill_self_before(HeldOut.evaluate, number))
        elif moment == "save":
            patch.setattr(TrainingState, "save", kill_self_before(TrainingState.save, number))
        else:
            patch.setitem(OBJECTIVES, "rtd", kill_self_before(OBJECTIVES["rtd"], number))
        assert train(tiny_data, tmp_path, "--micro-batch-size", "3", *eval_every) == code
    assert "the same command goes on" in capsys.readouterr().out
    assert checkpoints(tmp_path)[0] == step_folder(tmp_path, last)
    assert train(tiny_data, tmp_path, "--micro-batch-size", "3") == 0
    assert weights(tmp_path, 8) == straight_weights


@pytest.fixture(scope="module")
def straight_weights(tiny_data, tmp_path_factory) -> bytes:
    """The final weights of an undisturbed run with micro-batches of three rows."""
    folder = tmp_path_factory.mktemp("straight")
    assert train(tiny_data, folder, "--micro-batch-size", "3") == 0
    return weights(folder, 8)


class Clock:
    """A clock that a test sets; each reading advances the clock by a millisecond."""

    seconds = 1_000.0

    def __call__(self) -> float:
        self.seconds += 0.001
        return self.seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """A clock by which every update takes half an hour."""
    clock, count_update = Clock(), TrainingState.count_update

    def slow(self: TrainingState, skipped: torch.Tensor) -> None:
        count_update(self, skipped)
        clock.seconds += 1_800

    monkeypatch.setattr(TrainingState, "count_update", slow)
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_when_the_hours_are_over_it_saves_and_exits_75(tiny_data, tmp_path, clock):
    assert train(tiny_data, tmp_path, "--max-hours", "1.25") == 75
    assert checkpoints(tmp_path)[0].name == "step-0000003"


def test_wall_time_is_counted_over_all_starts(tiny_data, tmp_path, clock):
    train(tiny_data, tmp_path, "--stop-after", "4")
    clock.seconds += 7 * 86_400  # not training
    train(tiny_data, tmp_path)
    found = [record["elapsed_seconds"] for record in training_records(tmp_path)]
    assert found == pytest.approx([1_800 * step for step in range(1, 9)], abs=1)


def test_the_speed_is_that_of_updates_without_evaluations_and_saves(tiny_data, tmp_path, clock, monkeypatch):
    def slow(function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object) -> object:
            clock.seconds += 3_600
            return function(*args)

        return wrapped

    monkeypatch.setattr(HeldOut, "evaluate", slow(HeldOut.evaluate))
    monkeypatch.setattr(TrainingState, "save", slow(TrainingState.save))
    train(tiny_data, tmp_path)
    speeds = [record["tokens_per_second"] for record in training_records(tmp_path)]
    assert speeds == pytest.approx([8 * 23 / 1_800] * 8, rel=1e-4)


def limited_run(argv: list[str], max_bytes: int) -> None:
    """Run the script in a child process whose files cannot grow beyond a size, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    sys.stderr = open(Path(argv[3]).parent / "stderr", "w")  # noqa: SIM115 (closed with the process)
    cli.run(lambda: train_pretrain.main(argv))


def test_a_full_disk_stops_the_run_and_the_checkpoint_before_survives(tiny_data, tmp_path):
    train(tiny_data, tmp_path / "run", "--stop-after", "4")
    before = weights(tmp_path / "run", 4)
    size = (step_folder(tmp_path / "run", 4) / "training_state.pt").stat().st_size
    child = FORK.Process(target=limited_run, args=(arguments(tiny_data, tmp_path / "run"), size // 2))
    child.start()
    child.join()
    assert child.exitcode == 2
    assert "File too large" in (tmp_path / "stderr").read_text()
    assert checkpoints(tmp_path / "run")[0].name == "step-0000004"
    assert weights(tmp_path / "run", 4) == before
    assert train(tiny_data, tmp_path / "run") == 0  # with room again, it goes on


def test_a_damaged_newest_checkpoint_means_the_one_before_and_same_end(tiny_data, tmp_path, straight_weights, capsys):
    train(tiny_data, tmp_path / "run", "--micro-batch-size", "3", "--stop-after", "6")
    path = step_folder(tmp_path / "run", 6) / "model.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    capsys.readouterr()
    assert train(tiny_data, tmp_path / "run", "--micro-batch-size", "3") == 0
    assert "WARNING: damaged checkpoint" in capsys.readouterr().err
    assert weights(tmp_path / "run", 8) == straight_weights
    verify(step_folder(tmp_path / "run", 6))  # reached again, and written beside the damaged one
    assert (tmp_path / "run" / "damaged-step-0000006-0").is_dir()


def spoil(steps: set[int]) -> Callable[..., object]:
    """The objective with a NaN loss in the given calls."""
    objective, calls = OBJECTIVES["rtd"], itertools.count()

    def spoiled(*args: object) -> object:
        losses = objective(*args)  # type: ignore[arg-type]
        return losses._replace(loss=losses.loss * float("nan")) if next(calls) in steps else losses

    return spoiled


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_update_that_is_not_finite_is_skipped_counted_and_logged(tiny_data, tmp_path, monkeypatch, precision):
    monkeypatch.setitem(OBJECTIVES, "rtd", spoil({2, 3, 6}))
    settings = ("--eval-every", "100", "--max-skipped", "3")  # three in all, but never in a row
    assert train(tiny_data, tmp_path, *settings, "--precision", precision) == 0
    records = training_records(tmp_path)
    assert [r["num_skipped"] for r in records] == [0, 0, 1, 2, 2, 2, 3, 3]
    assert [r["loss"] is None for r in records] == [False, False, True, True, False, False, True, False]
    assert [r["learning_rate"] for r in records[:4]] == pytest.approx([0, 0.005, 0.01, 0.01 * 5 / 6])
    state = torch.load(step_folder(tmp_path, 8) / "model.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_many_in_a_row_stop_the_run_with_a_report_and_good_weights(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(OBJECTIVES, "rtd", spoil(set(range(3, 99))))
    err = failure(capsys, *arguments(tiny_data, tmp_path, "--max-skipped", "3", "--eval-every", "100"))
    assert "update 6: gradients were not finite in 3 updates in a row" in err
    assert f"the weights of {step_folder(tmp_path, 6)} are from before" in err
    saved = torch.load(step_folder(tmp_path, 6) / "model.pt", weights_only=True)
    before = torch.load(step_folder(tmp_path, 2) / "model.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in saved.values())
    assert any(not torch.equal(saved[name], before[name]) for name in saved)  # update 3 was a good one


@pytest.fixture(scope="module")
def repetitive_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents that repeat two of eight words, so that a replaced token is easy to find."""
    folder = tmp_path_factory.mktemp("repetitive") / "shards"
    draw = random.Random(0)
    words = ["abc", "def", "ghi", "jkl", "mno", "pqr", "stu", "vwx"]
    prepare_documents([" ".join(draw.choices(draw.sample(words, 2), k=40)) for _ in range(200)], folder, vocab_size=285)
    return folder


def blind(*args: object) -> object:
    """The objective with labels that are permuted within each row, so that nothing can be learned."""
    losses = OBJECTIVES["healthy"](*args)  # type: ignore[arg-type]
    corrupted, is_replaced, logits = losses.detection  # type: ignore[misc]
    order = torch.rand(is_replaced.shape, generator=torch.Generator().manual_seed(int(corrupted.sum()))).argsort(dim=1)
    is_replaced = is_replaced.gather(1, order)
    nats = torch.nn.functional.binary_cross_entropy_with_logits(logits, is_replaced.to(logits.dtype))
    detection = losses.detection._replace(is_replaced=is_replaced)  # type: ignore[union-attr]
    return losses._replace(loss=losses.masked_lm_loss + 50 * nats, disc_loss=nats, detection=detection)


WATCHED = (
    "--num-train-steps 240 --num-warmup-steps 40 --learning-rate 0.003 --initializer-range 0.2 --generator-size 1 "
    "--hidden-dropout-prob 0 --attention-dropout-prob 0 --eval-every 20 --eval-rows 512 --checkpoint-every 1000 "
    "--log-every 20 --batch-size 16"
).split()


def test_a_planted_collapse_is_declared_within_five_evaluations_and_stops_the_run(
    repetitive_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(OBJECTIVES, "healthy", OBJECTIVES["rtd"])
    monkeypatch.setitem(OBJECTIVES, "rtd", blind)
    assert train(repetitive_data, tmp_path, *WATCHED, "--on-collapse", "stop") == 3
    assert "WARNING: the discriminator has collapsed: in 3 evaluations in a row" in capsys.readouterr().out
    held_out = held_out_records(tmp_path)
    assert sum(r["step"] > 40 for r in held_out) <= 5
    last = held_out[-1]["step"]
    assert train(repetitive_data, tmp_path, *WATCHED, "--on-collapse", "stop") == 3  # started again it stays stopped
    assert f"is at update {last} of 240; --on-collapse warn goes on" in capsys.readouterr().out
    assert train(repetitive_data, tmp_path, *WATCHED, "--on-collapse", "stop", "--stop-after", str(last)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_no_healthy_run_is_declared_collapsed(repetitive_data, tmp_path, seed, capsys):
    assert train(repetitive_data, tmp_path, *WATCHED, "--seed", str(seed), "--on-collapse", "stop") == 0
    assert "collapsed" not in capsys.readouterr().out


def torchrun(num_ranks: int, argv: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script under torchrun in float64."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    command = [sys.executable, *launcher, "-m", "tests.helpers.float64_train", *argv]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def two_ranks(tiny_data, tmp_path_factory) -> Path:
    """The folder of an undisturbed run of two ranks, eight updates."""
    folder = tmp_path_factory.mktemp("two_ranks")
    assert torchrun(2, arguments(tiny_data, folder)).returncode == 0
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_resume_byte_equal(tiny_data, tmp_path, two_ranks):
    assert torchrun(2, arguments(tiny_data, tmp_path, "--stop-after", "3")).returncode == 0
    assert torchrun(2, arguments(tiny_data, tmp_path)).returncode == 0
    assert weights(tmp_path, 8) == weights(two_ranks, 8)
    saved = torch.load(step_folder(tmp_path, 8) / "model.pt")
    for name in ("word.weight", "position.weight", "token_type.weight", "norm.weight", "norm.bias"):
        tables = [saved[f"{network}.encoder.embeddings.{name}"] for network in ("generator", "discriminator")]
        assert tables[0].data_ptr() == tables[1].data_ptr(), name


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_goes_on_with_another_number_of_ranks_and_another_micro_batch_size(tiny_data, tmp_path):
    argv = arguments(tiny_data, tmp_path / "run", *NO_DROPOUT)
    assert torchrun(2, [*argv, "--stop-after", "3"]).returncode == 0
    assert torchrun(1, [*argv, "--micro-batch-size", "3"]).returncode == 0
    assert torchrun(1, arguments(tiny_data, tmp_path / "straight", *NO_DROPOUT)).returncode == 0
    one, two = (torch.load(step_folder(tmp_path / name, 8) / "model.pt") for name in ("run", "straight"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rank_that_dies_takes_the_job_down_and_the_job_resumes(tiny_data, tmp_path, two_ranks):
    argv = arguments(tiny_data, tmp_path)
    result = torchrun(2, argv, env={"DIE_AT_STEP": "5"})
    assert result.returncode != 0
    assert "rank 1 was told to die" in result.stderr
    assert checkpoints(tmp_path)[0].name == "step-0000004"
    assert torchrun(2, argv).returncode == 0
    assert weights(tmp_path, 8) == weights(two_ranks, 8)
