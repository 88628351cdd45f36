"""Record (torch: capture) the forward and backward pass as a CUDA graph; a replay is one launch, not thousands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")
Arguments = tuple[Any, ...]  # each a named tuple of tensors, some of them None
Gradients = list[Tensor | None]  # of all parameters
DEVICE_TYPE = "cuda"  # the devices that can record
NUM_WARM_UPS = 3  # calls on a side stream before a recording. Source: torch's notes on CUDA graphs


def tensors_of(arguments: Arguments) -> list[Tensor]:
    """Return the tensors of all arguments, in order."""
    return [tensor for tensor in itertools.chain(*arguments) if tensor is not None]


class Replayed(Generic[Result]):
    """A forward and backward pass, replayed as a CUDA graph that is recorded once for each set of argument shapes.

    At the small size, launching the thousands of kernels of an update takes longer than running them. The arguments are
    named tuples of CUDA tensors. The function must not wait for the device, and must detach its outputs. Seed dropout
    before each call, as usual: a replay uses that seed, and recording restores the random state.
    """

    def __init__(self, function: Callable[..., Result], parameters: Iterable[nn.Parameter]) -> None:
        self._function, self._parameters = function, [*parameters]
        self._recordings: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, Arguments, Result, Gradients]] = {}
        self._pool = torch.cuda.graph_pool_handle()  # shared: the graphs never run at the same time

    def __call__(self, *arguments: Any) -> Result:
        """Call the function and add its gradients, as backward() does; the result is valid until the next call."""
        shapes = tuple(tensor.shape for tensor in tensors_of(arguments))
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(arguments)
        graph, inputs, result, gradients = self._recordings[shapes]
        for kept, given in zip(tensors_of(inputs), tensors_of(arguments), strict=True):
            kept.copy_(given, non_blocking=True)
        # cloned first, because the replay overwrites the gradients of the last micro-batch
        before = [None if parameter.grad is None else parameter.grad.clone() for parameter in self._parameters]
        graph.replay()
        for parameter, gradient, earlier in zip(self._parameters, gradients, before, strict=True):
            parameter.grad = gradient if earlier is None else earlier if gradient is None else gradient.add_(earlier)
        return result

    def _set_gradients(self, gradients: Iterable[Tensor | None]) -> None:
        for parameter, gradient in zip(self._parameters, gradients, strict=False):
            parameter.grad = gradient

    def _record(self, given: Arguments) -> tuple[torch.cuda.CUDAGraph, Arguments, Result, Gradients]:
        """Record a call; return the graph, the copied arguments that it reads, its result and its gradients."""
        arguments = tuple(type(a)(*(None if t is None else t.clone() for t in a)) for a in given)
        before = [parameter.grad for parameter in self._parameters]
        random_state, side, graph = torch.cuda.get_rng_state(), torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(NUM_WARM_UPS):
                self._set_gradients(itertools.repeat(None))
                self._function(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        self._set_gradients(itertools.repeat(None))
        # thread_local, because another thread pins the next batch meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = self._function(*arguments)
        gradients = [parameter.grad for parameter in self._parameters]
        self._set_gradients(before)
        torch.cuda.set_rng_state(random_state)
        return graph, arguments, result, gradients
