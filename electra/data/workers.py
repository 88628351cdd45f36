"""Worker processes that keep their state from task to task.

Unlike in the standard library's pools, a worker gets its next task only when it is free, so large tasks need no memory;
it gives a last result when the tasks are done; a killed worker is an error; a killed parent ends its workers.
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
    """Do tasks in `num_workers` processes (1: in this process) and yield their results as they come, in no fixed order.

    `make_worker` is called once in each process. The worker that it returns is called with each task and, at the end,
    with None; each of its results (any number, none of them None) is sent on its own. `make_worker` and the tasks are
    picklable. Raises ChildProcessError if a worker dies; an exception inside a worker is raised here as it is.
    """
    if num_workers == 1:
        worker = make_worker()
        for task in itertools.chain(tasks, [None]):
            yield from worker(task)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy whatever the caller has loaded
    remaining = iter(tasks)
    busy: dict[Any, Task | None] = {}  # our end of the pipe to each worker: its task
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
            raise ChildProcessError(f"a worker process died (killed for memory?); {remedy}") from None


def _serve(make_worker: Callable[[], Callable[[Any], Iterable[Any]]], pipe: Any) -> None:
    """Do tasks in a worker process. Sent for each: its results, then None; or an exception, which ends the worker."""
    gc.disable()  # a worker makes millions of objects and no cycles: counting takes about 15 % less CPU time
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
