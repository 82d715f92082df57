"""Percentiles, and what of a part's latency is the line's and not inference: pure arithmetic on verdicts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.line_plant import Received
from benchmarks.suite import Row
from edge.clocks import NS_PER_MS
from edge.messages import Result, Verdict


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a sample of latencies, in its own unit; NaN where the sample is empty."""

    p50: float
    p99: float
    highest: float
    count: int

    @classmethod
    def of(cls, sample: Sequence[float]) -> Percentiles:
        """The percentiles of a sample."""
        if not sample:
            return cls(float("nan"), float("nan"), float("nan"), 0)
        p50, p99, highest = np.percentile(sample, (50, 99, 100))
        return cls(float(p50), float(p99), float(highest), len(sample))

    def rows(self, what: str, target: str = "", note: str = "") -> list[Row]:
        """Three rows in milliseconds; the target is that of p99."""
        counted = f"{self.count} parts" + (f"; {note}" if note else "")
        return [
            Row(f"{what}, p50", self.p50, "ms", note=counted),
            Row(f"{what}, p99", self.p99, "ms", target=target),
            Row(f"{what}, max", self.highest, "ms"),
        ]


def milliseconds(start_ns: int, end_ns: int) -> float:
    """From one time of a clock to another."""
    return (end_ns - start_ns) / NS_PER_MS


@dataclass(frozen=True, slots=True)
class Overhead:
    """Where the latency of one part went, in milliseconds; all but `infer` is the line's doing.

    Attributes:
        latency: captured -> this process has the verdict.
        infer: of the part's own batch.
        queueing: of the time before, what other batches' inference took: a matter of load, not of the line.
    """

    latency: float
    infer: float
    queueing: float

    @property
    def line(self) -> float:
        """Capture -> verdict received, minus inference; queueing is not taken off."""
        return self.latency - self.infer


def overheads(received: Sequence[Received]) -> list[Overhead]:
    """The latency of every judged part, taken apart by the verdicts' own timings.

    A batch was inferred from `captured + queue + preprocess` on, for `infer`.
    """
    judged = [each for each in received if each.verdict.result is not Result.FAULT]
    batches = [_inference_ns(each.verdict) for each in judged]
    apart = sorted(set(batches))
    return [
        Overhead(
            latency=milliseconds(each.verdict.captured_mono_ns, each.mono_ns),
            infer=each.verdict.timings.infer,
            queueing=_overlap_ns(each.verdict.captured_mono_ns, own[0], apart) / NS_PER_MS,
        )
        for each, own in zip(judged, batches, strict=True)
    ]


def _inference_ns(verdict: Verdict) -> tuple[int, int]:
    """CLOCK_MONOTONIC at the begin and the end of the batch that this part was in."""
    times = verdict.timings
    begin = verdict.captured_mono_ns + round((times.queue + times.preprocess) * NS_PER_MS)
    return begin, begin + round(times.infer * NS_PER_MS)


def _overlap_ns(start: int, stop: int, spans: Sequence[tuple[int, int]]) -> int:
    """How much of start ... stop is covered by sorted spans, which may touch or repeat but not nest."""
    covered, reached = 0, start
    for begin, end in spans[max(bisect_left(spans, (start, start)) - 1, 0) :]:
        if begin >= stop:
            break
        covered += max(min(end, stop) - max(begin, reached), 0)
        reached = max(reached, end)
    return covered
