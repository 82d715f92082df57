"""Intervals against Python's own sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.results.intervals import Intervals

RANGES = st.lists(st.builds(lambda start, length: range(start, start + length), *[st.integers(0, 40)] * 2))


@given(RANGES)
def test_holds_what_was_put_in(ranges: list[range]) -> None:
    """Membership and size are those of a set, whatever the order and overlap."""
    intervals, model = Intervals(ranges), {number for each in ranges for number in each}
    assert [number for number in range(100) if number in intervals] == sorted(model)
    assert len(intervals) == len(model)


@given(RANGES)
def test_ranges_are_few(ranges: list[range]) -> None:
    """Stored ranges are in order and never touch: consecutive parts take the room of one."""
    stored = list(Intervals(ranges))
    assert all(left.stop < right.start for left, right in pairwise(stored))


@given(RANGES, st.integers(0, 90))
def test_missing_is_the_rest(ranges: list[range], stop: int) -> None:
    """What is missing below a number is all that is not in the set, each once."""
    model = {number for each in ranges for number in each}
    missing = [number for each in Intervals(ranges).missing_below(stop) for number in each]
    assert missing == [number for number in range(stop) if number not in model]


@given(RANGES)
def test_first_missing(ranges: list[range]) -> None:
    """The lowest number that is not there."""
    model = {number for each in ranges for number in each}
    assert Intervals(ranges).first_missing == next(number for number in range(100) if number not in model)
