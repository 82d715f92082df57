"""Pauses between attempts."""

from __future__ import annotations

from edge.backoff import BackOff


def test_pauses_double_up_to_a_limit_for_ever() -> None:
    """It never gives up, and never asks more often than once in the longest pause."""
    back_off = BackOff(first_s=1, longest_s=5)
    assert [back_off.pause_s() for _ in range(6)] == [1, 2, 4, 5, 5, 5]


def test_success_begins_anew() -> None:
    """The next loss is looked after as quickly as the first."""
    back_off = BackOff(first_s=1, longest_s=5)
    back_off.pause_s()
    back_off.reset()
    assert back_off.pause_s() == 1
