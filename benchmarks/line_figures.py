"""Percentiles, and what of a part's latency is the line's and not inference: pure arithmetic on verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.suite import Row

_NS_PER_MS = 1e6


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
    return (end_ns - start_ns) / _NS_PER_MS
