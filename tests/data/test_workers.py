"""Worker processes: `electra.data.workers`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from electra.data.workers import run_tasks
from electra.files import FormatError
from tests.conftest import ROOT


class Summing:
    """Gives a task back as often as it says, and at the end their sum; -1 is an error, -2 the end of the process."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, task: int | None) -> Iterator[tuple[str, int, int]]:
        if task == -1:
            raise FormatError("-1: expected another number")
        if task == -2:
            os.kill(os.getpid(), signal.SIGKILL)
        if task is None:
            yield "total", self.total, os.getpid()
        else:
            self.total += task
            yield from [("task", task, os.getpid())] * task


class Announcing:
    """Prints its process."""

    def __call__(self, task: int | None) -> Iterator[None]:
        print(os.getpid(), flush=True)
        yield from ()


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_all_tasks_are_done_with_any_number_of_results_and_workers_keep_what_they_learn(num_workers: int):
    results = list(run_tasks(Summing, iter(range(10)), num_workers))
    assert sorted(value for kind, value, _ in results if kind == "task") == [n for n in range(10) for _ in range(n)]
    totals = [value for kind, value, _ in results if kind == "total"]
    assert (len(totals), sum(totals)) == (num_workers, 45)
    processes = {process for _, _, process in results}
    assert len(processes) == num_workers
    assert (os.getpid() in processes) == (num_workers == 1)
    assert [value for _, value, _ in run_tasks(Summing, [], num_workers)] == [0] * num_workers


def test_tasks_are_taken_only_as_workers_become_free():
    tasks = iter(range(100))
    results = run_tasks(Summing, tasks, 2)
    next(results)
    assert next(tasks) <= 4
    results.close()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_error_in_a_worker_is_raised_as_it_is(num_workers: int):
    with pytest.raises(FormatError, match="-1: expected another number"):
        list(run_tasks(Summing, [1, 2, -1, 4], num_workers))


def test_a_killed_worker_is_an_error_and_not_a_hang():
    with pytest.raises(ChildProcessError, match=r"a worker process died .*; run the same command again"):
        list(run_tasks(Summing, [1, 2, -2, 4], 2))


PARENT = """
import time
from electra.data.workers import run_tasks
from tests.data.test_workers import Announcing
def tasks():
    yield from range(2)
    time.sleep(600)
list(run_tasks(Announcing, tasks(), 2))
"""


def test_workers_of_a_killed_parent_end_by_themselves():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(600):
        if not any(map(is_running, workers)):
            return
        time.sleep(0.05)
    pytest.fail(f"one of the workers {workers} outlived its parent by 30 s")


def is_running(process: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
