"""Times of things to compare, taken in turn (A B A B): a machine that slows down slows all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall times of one thing.

    Attributes:
        seconds: of each run, in the order taken.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """In seconds: what the machine can do when nothing else asks for it."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """Distance of the quartiles as a share of the median; 0 for a single run."""
        if len(self.seconds) == 1:
            return 0.0
        lower, _, upper = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (upper - lower) / self.median

    def note(self) -> str:
        """How far to trust the median, for a row's note."""
        return f"{len(self.seconds)} runs, quartiles {100 * self.spread:.0f} % apart"


def in_turn(things: Sequence[Callable[[], object]], rounds: int, warm_up: int = 1) -> list[Timing]:
    """Run each once a round, in order, after `warm_up` rounds that do not count.

    Args:
        things: what is timed; what they return is dropped. On CUDA they must synchronise themselves.
        rounds: how often each is timed, at least once.
        warm_up: rounds before, in which caches fill and libraries choose their kernels.
    """
    for _ in range(warm_up):
        for thing in things:
            thing()
    seconds: list[list[float]] = [[] for _ in things]
    with _no_collection():
        for _ in range(rounds):
            for thing, taken in zip(things, seconds, strict=True):
                start = time.perf_counter()
                thing()
                taken.append(time.perf_counter() - start)
    return [Timing(tuple(taken)) for taken in seconds]


def waited_for(work: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The work to its end: on a GPU a call returns before anything is done."""
    if device.type != "cuda":
        return work

    def to_its_end() -> None:
        work()
        torch.cuda.synchronize(device)

    return to_its_end


def times_faster(ours: Timing, theirs: Timing) -> float:
    """How many times as long the other takes, of medians."""
    return theirs.median / ours.median


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for torch's own operations, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A collection falls on whoever runs at that moment, not on who made the garbage."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
