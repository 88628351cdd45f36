"""Record an update's passes once as a CUDA graph, then replay them: one launch in place of thousands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

Result = TypeVar("Result")
Arguments = tuple[Any, ...]  # each a named tuple of tensors, some of them None
NUM_WARM_UPS = 3  # calls on a side stream before a recording. Source: torch's notes on CUDA graphs


def tensors_of(arguments: Arguments) -> list[Tensor]:
    """The tensors of all arguments, in order."""
    return [tensor for tensor in itertools.chain(*arguments) if tensor is not None]


def copy_of(arguments: Arguments) -> Arguments:
    """The same named tuples, of new tensors."""
    return tuple(type(a)(*(None if tensor is None else tensor.clone() for tensor in a)) for a in arguments)


class Recording(NamedTuple):
    """A graph, the arguments it reads, and what it writes; the next replay overwrites both."""

    graph: Any  # torch.cuda.CUDAGraph
    arguments: Arguments
    outputs: Any


class Replayed(Generic[Result]):
    """A function that adds to its parameters' gradients, recorded once for each set of shapes of its arguments.

    The small size launches some thousands of kernels an update, which takes a host longer than they run. The arguments
    are named tuples of CUDA tensors. The function must not wait for the device, and its outputs must carry no graph; a
    parameter it does not use gets a gradient of 0. Dropout stays a function of the seed that is set before a call: a
    replay reads the generator's state anew, and recording leaves that state as it was.
    """

    def __init__(self, function: Callable[..., Result], parameters: Iterable[nn.Parameter]) -> None:
        self._function, self._parameters = function, [*parameters]
        self._gradients = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._recordings: dict[tuple[torch.Size, ...], Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()  # one for all: they never run at the same time

    def __call__(self, *arguments: Any) -> Result:
        """The function's result, its gradients added; good until the next call."""
        shapes = tuple(tensor.shape for tensor in tensors_of(arguments))
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(arguments)
        recording = self._recordings[shapes]
        for kept, given in zip(tensors_of(recording.arguments), tensors_of(arguments), strict=True):
            kept.copy_(given, non_blocking=True)
        if self._parameters[0].grad is None:  # the last update has cleared them
            torch._foreach_zero_(self._gradients)
            self._hold(self._gradients)
        recording.graph.replay()
        return cast(Result, recording.outputs)

    def _hold(self, gradients: Iterable[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient

    def _record(self, given: Arguments) -> Recording:
        """Call the function on a copy of its arguments; leaves gradients and the generator's state as they were."""
        arguments = copy_of(given)
        before, random_state = [parameter.grad for parameter in self._parameters], torch.cuda.get_rng_state()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(NUM_WARM_UPS):
                self._hold([None] * len(before))
                self._function(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        self._hold(self._gradients)
        graph = torch.cuda.CUDAGraph()
        # thread_local: meanwhile another thread pins the next batch
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = self._function(*arguments)
        self._hold(before)
        torch.cuda.set_rng_state(random_state)
        return Recording(graph, arguments, outputs)
