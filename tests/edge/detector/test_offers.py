"""Whoever offers never waits."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from edge.detector.offers import Offers


@given(capacity=st.integers(1, 4), steps=st.lists(st.booleans(), max_size=40))
def test_what_was_accepted_comes_out_once_and_in_order(capacity: int, steps: list[bool]) -> None:
    """Never more than the capacity waits; what is refused is told; closing keeps what waits."""
    offers: Offers[int] = Offers(capacity)
    accepted: list[int] = []
    taken: list[int | None] = []
    for number, is_offer in enumerate(steps):
        if is_offer:
            has_room = len(accepted) - len(taken) < capacity
            assert offers.offer(number) is has_room
            accepted += [number] if has_room else []
        elif len(taken) < len(accepted):
            taken.append(offers.take())
    offers.close()
    taken += [offers.take() for _ in range(len(accepted) - len(taken))]
    assert taken == accepted
    assert offers.take() is None
    assert not offers.offer(0)


def test_what_waits_when_dropped_comes_back_and_is_not_given_out() -> None:
    """Whoever drops accounts for it."""
    offers: Offers[int] = Offers(2)
    assert offers.offer(1)
    assert offers.offer(2)
    assert offers.drop() == [1, 2]
    assert offers.take() is None
    assert not offers.offer(3)


def test_closing_wakes_who_waits() -> None:
    """A thread without work ends too."""
    offers: Offers[int] = Offers(1)
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: taken.append(offers.take()))
    thread.start()
    offers.close()
    thread.join(timeout=10)
    assert taken == [None]
