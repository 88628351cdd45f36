"""Worker processes that keep their state from one task to the next.

Differences from the pools of the standard library: a task is sent only to a free worker, so no large tasks wait in
memory; a worker can give results after its last task; a killed worker is an error; a killed parent ends its workers.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    make_worker: Callable[[], Callable[[Task | None], Iterable[Result]]], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    """Do tasks in `num_workers` processes (1: in this process); yield results as soon as they arrive, in any order.

    Each process calls `make_worker` once. The worker that it returns is called with each task and, at the end, with
    None; it may yield any number of results, but never None. `make_worker`, tasks and results must be picklable.
    Raises ChildProcessError if a worker dies. An exception inside a worker is raised here unchanged.
    """
    if num_workers == 1:
        worker = make_worker()
        for task in itertools.chain(tasks, [None]):
            yield from worker(task)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy everything that the caller has loaded
    remaining = iter(tasks)
    busy: dict[Any, Task | None] = {}  # our end of the pipe to each worker: the task of the worker
    with contextlib.ExitStack() as stack:
        for _ in range(num_workers):
            pipe, other_end = context.Pipe()
            process = context.Process(target=_serve, args=(make_worker, other_end), daemon=True)
            process.start()
            other_end.close()
            stack.callback(process.join)
            stack.callback(process.terminate)
            busy[stack.enter_context(pipe)] = None
        try:
            for pipe in busy:
                busy[pipe] = next(remaining, None)
                pipe.send(busy[pipe])
            while busy:
                ready: list[Any] = list(wait([*busy]))
                for pipe in ready:
                    answer = pipe.recv()
                    if isinstance(answer, Exception):
                        raise answer
                    if answer is not None:
                        yield answer
                    elif busy[pipe] is None:
                        del busy[pipe]
                    else:
                        busy[pipe] = next(remaining, None)
                        pipe.send(busy[pipe])
        except (EOFError, ConnectionError):
            remedy = "run the same command again, perhaps with fewer --workers"
            raise ChildProcessError(f"a worker process died (out of memory?); {remedy}") from None


def _serve(make_worker: Callable[[], Callable[[Any], Iterable[Any]]], pipe: Any) -> None:
    """Do tasks in a worker process. Send each task's results, then None. An exception is sent and ends the worker."""
    gc.disable()  # millions of objects without cycles: counting needs about 15 % less CPU time
    worker: Callable[[Any], Iterable[Any]] | None = None
    is_last = False
    with contextlib.suppress(OSError, KeyboardInterrupt):  # the parent has ended
        try:
            while not is_last:
                task = pipe.recv()
                is_last = task is None
                worker = worker or make_worker()
                for result in worker(task):
                    pipe.send(result)
                pipe.send(None)
        except Exception as error:
            pipe.send(error)
