"""What a service says of itself: twice a second, at once where its state changes, and all that it knows."""

from __future__ import annotations

import os
import time

from edge.heart import BEAT_PERIOD_S, Heart, new_epoch
from edge.messages import ServiceState, decode_beat, encode_beat


def test_heart_is_due_twice_a_second() -> None:
    """At once, and then not before half a second has passed."""
    heart = Heart("camera", "line1", 7)
    assert heart.due()
    start = time.monotonic()
    while not heart.due():
        assert time.monotonic() - start < 10
    assert time.monotonic() - start >= 0.95 * BEAT_PERIOD_S


def test_changed_state_is_due_at_once() -> None:
    """A FAULT shorter than half a second is told all the same, once."""
    heart = Heart("camera", "line1", 7)
    heart.due()
    heart.state = ServiceState.FAULT
    assert heart.due()
    assert not heart.due()


def test_beat_says_what_the_heart_knows() -> None:
    """State, counters, last sequence number and error travel; a long error is cut, not refused."""
    heart = Heart("detector", "line1", 7, ServiceState.READY, last_seq=41, last_error="x" * 5000)
    heart.counters["judged"] += 42
    beat = decode_beat(encode_beat(heart.beat()))
    assert (beat.service, beat.line, beat.epoch, beat.state) == ("detector", "line1", 7, ServiceState.READY)
    assert (beat.counters, beat.last_seq, beat.pid) == ({"judged": 42}, 41, os.getpid())
    assert beat.last_error == "x" * 1000
    assert abs(beat.wall_ns - time.time_ns()) < 60e9


def test_beat_does_not_change_with_the_heart() -> None:
    """A beat is a photograph: counting on does not alter one that waits to be sent."""
    heart = Heart("camera", "line1", 7)
    heart.counters["captured"] = 1
    beat = heart.beat()
    heart.counters["captured"] = 2
    assert beat.counters == {"captured": 1}


def test_epochs_tell_starts_apart() -> None:
    """Two starts do not share an epoch, and it fits a signed 64-bit integer."""
    epochs = {new_epoch() for _ in range(100)}
    assert len(epochs) == 100
    assert all(0 <= epoch < 2**63 for epoch in epochs)
