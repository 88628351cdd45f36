"""CUDA graphs on a CPU: a stand-in lists the operations of a recording, and a replay runs them again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from electra.training import cuda_graph

ON_CARD = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
WAITING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Graph(TorchDispatchMode):
    """In place of `torch.cuda.CUDAGraph`: lists each operation with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not WAITING & {*function.tags}, f"{function} waits for the device, which no recording allows"
        results = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, results))
        return results

    def replay(self) -> None:
        """Run the operations again; each result goes to its memory in the recording."""
        with torch._C._AutoDispatchBelowAutograd():
            for function, args, kwargs, results in self.calls:
                for kept, new in zip(tree_leaves(results), tree_leaves(function(*args, **kwargs)), strict=True):
                    if memory(kept) != memory(new):  # the same memory: a view, or written in place already
                        kept.copy_(new)


def memory(value: Any) -> int:
    """Where a tensor's memory begins; 0 for anything else."""
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else 0


@contextmanager
def record(graph: Graph, **unused: Any) -> Iterator[None]:
    """In place of `torch.cuda.graph`. CUDA computes nothing while it records, so new floats are NaN until a replay."""
    with graph:
        yield
    for _, args, kwargs, results in graph.calls:
        given = {memory(value) for value in tree_leaves((args, kwargs))}
        for result in tree_leaves(results):
            if memory(result) not in given and result.is_floating_point():
                result.data.fill_(torch.nan)


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `Replayed` record and replay on a CPU, which has one stream."""
    monkeypatch.setattr(cuda_graph, "DEVICE_TYPE", "cpu")
    for name in ("Stream", "current_stream", "stream", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    random_states = {"get_rng_state": torch.get_rng_state, "set_rng_state": torch.set_rng_state}
    for name, value in {"CUDAGraph": Graph, "graph": record, **random_states}.items():
        monkeypatch.setattr(torch.cuda, name, value)
