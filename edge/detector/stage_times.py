"""How long parts spend in each stage, as counters of the beat: a histogram a stage in constant memory.

Counters only grow, so whoever reads two beats of an epoch has the parts between them. They are named as in

    stage_count          parts measured, the same for all stages
    stage_infer_us       sum over them, in microseconds
    stage_infer_le_30    those that took at most 30 ms; those that took longer than the last bound are only in
                         `stage_count`

which are the cumulative buckets, the sum and the count of a Prometheus histogram.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge.messages import Timings

STAGES = ("queue", "preprocess", "infer", "post", "total")
# Half decades: a beat holds 128 counters, and a line is tuned by orders of magnitude.
BOUNDS_MS = (1, 3, 10, 30, 100, 300, 1000)
COUNT = "stage_count"
_US_PER_MS = 1000


def sum_name(stage: str) -> str:
    """The counter that sums a stage's microseconds."""
    return f"stage_{stage}_us"


def bucket_name(stage: str, bound_ms: int) -> str:
    """The counter of parts that took at most `bound_ms` in a stage."""
    return f"stage_{stage}_le_{bound_ms}"


def counter_names() -> Iterator[str]:
    """All counters of this module."""
    yield COUNT
    for stage in STAGES:
        yield sum_name(stage)
        yield from (bucket_name(stage, bound) for bound in BOUNDS_MS)


def observed(timings: Timings) -> Iterator[tuple[str, int]]:
    """What one part adds: pairs of counter and increment."""
    yield COUNT, 1
    for stage in STAGES:
        took_ms: float = getattr(timings, stage)
        yield sum_name(stage), max(0, round(took_ms * _US_PER_MS))
        yield from ((bucket_name(stage, bound), 1) for bound in BOUNDS_MS if took_ms <= bound)


def mean_ms(counters: Mapping[str, int], stage: str) -> float | None:
    """Mean over all parts of the epoch; None where none was measured."""
    count = counters.get(COUNT, 0)
    return counters.get(sum_name(stage), 0) / count / _US_PER_MS if count else None
