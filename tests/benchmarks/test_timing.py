"""Timing: the order of runs, and the arithmetic on their times."""

from __future__ import annotations

import pytest
import torch

from benchmarks.timing import Timing, in_turn, times_faster, torch_threads


def test_things_run_in_turn_after_a_warm_up_that_does_not_count() -> None:
    """A B, then A B A B; two times each."""
    order: list[str] = []
    timings = in_turn([lambda: order.append("A"), lambda: order.append("B")], rounds=2, warm_up=1)
    assert order == ["A", "B"] * 3
    assert [len(timing.seconds) for timing in timings] == [2, 2]


def test_median_best_and_spread_by_hand() -> None:
    """Of 1 to 5 s: the middle 3, the least 1, quartiles 2 and 4."""
    timing = Timing((5.0, 1.0, 3.0, 2.0, 4.0))
    assert (timing.median, timing.best) == (3.0, 1.0)
    assert timing.spread == pytest.approx(2 / 3)
    assert timing.note() == "5 runs, quartiles 67 % apart"


def test_a_single_run_has_no_spread() -> None:
    """Nothing to be apart from."""
    assert Timing((2.0,)).spread == 0


def test_how_many_times_faster_is_of_medians() -> None:
    """2 s against 5 s, whatever one slow run of ours says."""
    assert times_faster(Timing((2.0, 2.0, 100.0)), Timing((5.0,))) == 2.5


def test_threads_are_as_before_afterwards() -> None:
    """Only the work in between has so many."""
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
