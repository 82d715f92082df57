"""Passes that are recorded once for each shape of batch and then replayed as one CUDA graph.

The image and its windows are some hundreds of kernels of a few microseconds. Launched one by one, a processor
cannot keep a GPU busy with a single image; a replay is one launch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor


class _Clonable(Protocol):
    def clone(self) -> Self:
        """A copy in memory of its own."""


_Result = TypeVar("_Result", bound=_Clonable)

# Batches of 1 to 8 of four shapes of image. Each recording keeps its inputs and results on the GPU.
_MOST_RECORDED = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Recording(Generic[_Result]):
    """A pass as it was recorded; a replay reads `given` and writes `result`, in place.

    Attributes:
        graph: the kernels.
        given: the input's memory.
        result: the results' memory.
        constants: what the kernels read besides; a graph holds addresses, and keeps nothing alive.
    """

    graph: torch.cuda.CUDAGraph
    given: Tensor
    result: _Result
    constants: object


class RecordedPasses(Generic[_Result]):
    """A pass over a tensor, recorded at the first call for each shape.

    Used from one thread at a time. Further shapes than the first 32 are not recorded but run as they are.

    Args:
        run: the pass; a fixed sequence of kernels for a shape, which waits for nothing.
        constants: for a tensor, what the pass reads besides it and the weights, such as cached indices.
    """

    def __init__(self, run: Callable[[Tensor], _Result], constants: Callable[[Tensor], object]) -> None:
        self._run = run
        self._constants = constants
        self._recordings: dict[torch.Size, _Recording[_Result]] = {}
        # Recordings replay one after the other, results are copied out: they share their scratch memory.
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, given: Tensor) -> _Result:
        """The result, in memory of its own."""
        recording = self._recordings.get(given.shape)
        if recording is None:
            if len(self._recordings) >= _MOST_RECORDED:
                return self._run(given)
            recording = self._recordings[given.shape] = self._record(given)
        recording.given.copy_(given)
        recording.graph.replay()
        return recording.result.clone()

    def _record(self, given: Tensor) -> _Recording[_Result]:
        own = given.clone()
        # First on a stream of its own: libraries choose kernels and caches are filled outside the graph.
        aside = torch.cuda.Stream(own.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(own.device))
        with torch.cuda.stream(aside):
            self._run(own)
        torch.cuda.current_stream(own.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads prepare images meanwhile, which a recording must not forbid.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = self._run(own)
        return _Recording(graph, own, result, self._constants(own))
