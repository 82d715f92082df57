"""Stage times as counters: what Prometheus calls a histogram."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detector.stage_times import (
    BOUNDS_MS,
    COUNT,
    STAGES,
    bucket_name,
    counter_names,
    mean_ms,
    observed,
    sum_name,
)
from edge.messages import Timings

_MS = st.floats(0, 5000, allow_nan=False)


def counted(*parts: Timings) -> Counter[str]:
    counters: Counter[str] = Counter()
    for timings in parts:
        for name, increment in observed(timings):
            counters[name] += increment
    return counters


def test_a_part_is_in_every_bucket_that_holds_it() -> None:
    """30 ms are at most 30, 100, 300 and 1000 ms, and not at most 10."""
    counters = counted(Timings(infer=30.0))
    inside = [bound for bound in BOUNDS_MS if counters[bucket_name("infer", bound)]]
    assert inside == [30, 100, 300, 1000]


def test_the_mean_is_the_sum_over_the_count() -> None:
    """Of 10 and 20 ms it is 15 ms, and nothing is told of a service that measured nothing."""
    counters = counted(Timings(infer=10.0), Timings(infer=20.0))
    assert mean_ms(counters, "infer") == pytest.approx(15.0)
    assert mean_ms({}, "infer") is None


@given(st.lists(st.builds(Timings, queue=_MS, preprocess=_MS, infer=_MS, post=_MS, total=_MS), max_size=20))
def test_buckets_grow_with_their_bound_up_to_the_count(parts: list[Timings]) -> None:
    """Cumulative, as Prometheus wants them, and the sum is that of the parts to half a microsecond each."""
    counters = counted(*parts)
    for stage in STAGES:
        buckets = [counters[bucket_name(stage, bound)] for bound in BOUNDS_MS]
        assert [*buckets, counters[COUNT]] == sorted([*buckets, counters[COUNT]])
        total_us = sum(getattr(part, stage) * 1000 for part in parts)
        assert abs(counters[sum_name(stage)] - total_us) <= 0.5 * len(parts) + 1e-3


def test_every_counter_is_named_from_the_start() -> None:
    """What a part may add to is in `counter_names`, so that it can be watched before the first part."""
    assert set(counted(Timings())) == set(counter_names())
