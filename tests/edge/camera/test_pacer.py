"""The pace of a line: absolute deadlines, no drift, no burst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.pacer import Pacer


def test_first_part_is_due_at_once() -> None:
    """A line starts with a part, not with a pause."""
    assert Pacer(2, now_s=100).wait_s(100) == 0


def test_next_part_is_due_a_period_after_the_deadline() -> None:
    """Taken a little late, the next one is still due on the grid: lateness does not add up."""
    pacer = Pacer(2, now_s=100)
    pacer.taken(100.1)
    assert pacer.wait_s(100.1) == pytest.approx(0.4)


def test_missed_deadlines_are_left_out() -> None:
    """After a stall of five periods one part is due, and then the next on the grid."""
    pacer = Pacer(2, now_s=100)
    pacer.taken(102.6)
    assert pacer.wait_s(102.6) == pytest.approx(0.4)


def test_without_a_rate_the_source_sets_the_pace() -> None:
    """Always due."""
    pacer = Pacer(0, now_s=100)
    pacer.taken(100)
    assert pacer.wait_s(100) == 0


@given(st.floats(0.5, 1000), st.lists(st.floats(0, 5), max_size=50))
def test_never_faster_than_the_rate(rate_hz: float, delays: list[float]) -> None:
    """However late each part was taken, n parts never take less than n - 1 periods to become due."""
    pacer, now = Pacer(rate_hz, now_s=0), 0.0
    for number, delay in enumerate(delays):
        now += pacer.wait_s(now)
        assert now >= number / rate_hz - 1e-6
        now += delay / rate_hz
        pacer.taken(now)
