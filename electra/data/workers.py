"""Work in processes that keep what they have learned from one task to the next.

Unlike the standard library's pools: tasks are taken from a lazy stream, one in flight a worker, so large tasks need
no memory; a worker has a last word when the tasks are done; a killed worker is an error and not a hang; and the
workers of a killed parent end by themselves, because their pipe does.
"""

from __future__ import annotations

import contextlib
import enum
import gc
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class _Answer(enum.Enum):
    """What a worker sends, each with its content."""

    RESULT = enum.auto()
    DONE = enum.auto()  # whether this was its last task
    ERROR = enum.auto()


@contextlib.contextmanager
def paused_gc() -> Iterator[None]:
    """Keep the garbage collector from walking millions of live objects; what runs inside must make no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def run_tasks(
    make_worker: Callable[[], Callable[[Task | None], Iterable[Result]]], tasks: Iterable[Task], num_workers: int
) -> Iterator[Result]:
    """Do tasks in `num_workers` processes and yield their results as they come, in no fixed order.

    Args:
        make_worker: called once in each process, so it must be picklable. What it returns is called with each task
            and, at the end, once with None; it answers with any number of results, each sent as it is made.
        tasks: what is sent to the workers, picklable.
        num_workers: 1 works in this process.

    Raises:
        ChildProcessError: a worker died. An exception inside a worker is raised here as it is.
    """
    if num_workers == 1:
        with paused_gc():
            work = make_worker()
            for task in tasks:
                yield from work(task)
            yield from work(None)
        return
    with _start_workers(make_worker, num_workers) as pipes:
        yield from _hand_out(pipes, iter(tasks))


@contextlib.contextmanager
def _start_workers(make_worker: Callable[[], Any], num_workers: int) -> Iterator[list[Any]]:
    """Processes that start afresh: a fork would carry along whatever the caller has loaded."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(num_workers):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            process = context.Process(target=_serve, args=(make_worker, theirs), daemon=True)
            process.start()
            processes.append(process)
            theirs.close()
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.terminate()
            process.join()


def _hand_out(pipes: list[Any], tasks: Iterator[Any]) -> Iterator[Any]:
    busy = list(pipes)
    for pipe in pipes:
        _talk(pipe.send, next(tasks, None))
    while busy:
        ready: list[Any] = list(wait(busy))
        for pipe in ready:
            kind, content = _talk(pipe.recv)
            if kind is _Answer.RESULT:
                yield content
            elif kind is _Answer.ERROR:
                raise content
            elif content:
                busy.remove(pipe)
            else:
                _talk(pipe.send, next(tasks, None))


def _talk(action: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return action(*arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        what = "worker process: expected an answer, found it dead (killed for memory?)"
        raise ChildProcessError(f"{what}; run the same command again, perhaps with fewer --workers") from None


def _serve(make_worker: Callable[[], Callable[[Any], Iterable[Any]]], pipe: Any) -> None:
    """A worker process: answer tasks until the last one, a failure, or the parent's end."""
    gc.disable()
    work: Callable[[Any], Iterable[Any]] | None = None
    is_last = False
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):  # the parent is gone, and so is whom to tell
        while not is_last:
            task = pipe.recv()
            is_last = task is None
            try:
                work = work or make_worker()
                for result in work(task):
                    pipe.send((_Answer.RESULT, result))
                pipe.send((_Answer.DONE, is_last))
            except Exception as error:
                is_last = True
                pipe.send((_Answer.ERROR, error))
