"""Worker processes: `electra.data.workers`."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from electra.data.workers import paused_gc, run_tasks
from electra.files import FormatError
from tests.conftest import ROOT


class Summing:
    """Squares each task and says at the end what it summed up."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, task: int | None) -> Iterator[tuple[str, int, int]]:
        if task is None:
            yield "total", self.total, os.getpid()
            return
        self.total += task
        yield "square", task * task, os.getpid()


class Announcing(Summing):
    def __call__(self, task: int | None) -> Iterator[tuple[str, int, int]]:
        print(os.getpid(), flush=True)
        return super().__call__(task)


class Failing(Summing):
    def __call__(self, task: int | None) -> Iterator[tuple[str, int, int]]:
        if task == 3:
            raise FormatError("three: expected another number")
        return super().__call__(task)


class Dying(Summing):
    def __call__(self, task: int | None) -> Iterator[tuple[str, int, int]]:
        if task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task)


class Counting:
    """Answers a task with as many numbers as it says, the last word with none."""

    def __call__(self, task: int | None) -> range:
        return range(task or 0)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_a_task_may_have_any_number_of_results(num_workers: int):
    assert sorted(run_tasks(Counting, [3, 0, 1, 2], num_workers)) == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_all_tasks_are_done_and_workers_keep_what_they_learn(num_workers: int):
    results = list(run_tasks(Summing, iter(range(10)), num_workers))
    assert sorted(value for kind, value, _ in results if kind == "square") == [n * n for n in range(10)]
    totals = [value for kind, value, _ in results if kind == "total"]
    assert (len(totals), sum(totals)) == (num_workers, 45)
    processes = {process for _, _, process in results}
    assert len(processes) == num_workers
    assert (os.getpid() in processes) == (num_workers == 1)


def test_no_tasks_are_no_problem():
    assert [kind for kind, _, _ in run_tasks(Summing, [], 2)] == ["total", "total"]


def test_tasks_are_taken_only_as_workers_become_free():
    taken = []

    def tasks() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = run_tasks(Summing, tasks(), 2)
    next(results)
    assert len(taken) <= 4
    results.close()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_in_a_worker_is_raised_as_it_is(num_workers: int):
    with pytest.raises(FormatError, match="three: expected another number"):
        list(run_tasks(Failing, range(10), num_workers))


def test_a_killed_worker_is_an_error_and_not_a_hang():
    with pytest.raises(ChildProcessError, match=r"a worker process died .*; run the same command again"):
        list(run_tasks(Dying, range(10), 2))


def test_workers_of_a_killed_parent_end_by_themselves(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from tests.data.test_workers import Announcing\n"
        "from electra.data.workers import run_tasks\n"
        "def tasks():\n"
        "    yield from range(2)\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    list(run_tasks(Announcing, tasks(), 2))\n"
    )
    root = ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        if not any(map(is_running, workers)):
            return
        time.sleep(0.05)
    pytest.fail(f"one of the workers {workers} outlived its parent by 10 s")


def is_running(process: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("module", ["data.prepare", "data.learn", "data.encode"])
def test_what_workers_import_leaves_torch_out(module: str):
    code = f"import sys, electra.{module}; print('torch' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_collector_is_paused_and_comes_back():
    assert gc.isenabled()
    with contextlib.suppress(KeyError), paused_gc():
        with paused_gc():
            assert not gc.isenabled()
        assert not gc.isenabled()  # it was off before, so it stays off
        raise KeyError
    assert gc.isenabled()
