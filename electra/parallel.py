"""Work in processes that keep what they have learned from one task to the next.

Unlike the standard library's pools: one task in flight a worker, so a lazy stream of large tasks needs no memory;
a worker has a last word when the tasks are done; a killed worker is an error, not a hang; and the workers of a
killed parent end by themselves, because their pipe does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    make_worker: Callable[[], Callable[[Task | None], Result]], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    """Do tasks in `num_workers` processes and yield their results as they come, in no fixed order.

    Args:
        make_worker: called once in each process (picklable); what it returns is called with each task and, at
            the end, once with None.
        num_workers: 1 works in this process.

    Raises:
        ChildProcessError: a worker died. An exception in a worker is raised here as it is.
    """
    if num_workers == 1:
        work = make_worker()
        yield from map(work, tasks)
        yield work(None)
        return
    with _workers(make_worker, num_workers) as idle:
        yield from _dispatch(idle, iter(tasks))


@contextlib.contextmanager
def _workers(make_worker: Any, num_workers: int) -> Iterator[list[Any]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(num_workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(make_worker, theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def _dispatch(pipes: list[Any], tasks: Iterator[Any]) -> Iterator[Any]:
    busy = []
    for pipe in pipes:
        pipe.send(next(tasks, None))
        busy.append(pipe)
    while busy:
        for pipe in multiprocessing.connection.wait(busy):
            ok, value, done = _receive(pipe)
            if not ok:
                raise value
            if done:
                busy.remove(pipe)
            else:
                pipe.send(next(tasks, None))
            yield value


def _receive(pipe: Any) -> tuple[bool, Any, bool]:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        message = "a worker process: expected its result, found it killed (out of memory?)"
        raise ChildProcessError(f"{message}; run the same command again, with fewer --workers if memory is short") from None


def _serve(make_worker: Any, pipe: Any) -> None:
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        work = make_worker()
        while True:
            task = pipe.recv()
            try:
                pipe.send((True, work(task), task is None))
            except Exception as error:
                pipe.send((False, error, True))
                return
            if task is None:
                return
