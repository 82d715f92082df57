"""When an echo that stands still is a PLC that has stopped."""

from __future__ import annotations

from edge.plc.echo import EchoWatch


def following(timeout_s: float = 1.0) -> EchoWatch:
    """The program has copied the heartbeats 1 and 2, the last one at 10.2 s."""
    watch = EchoWatch(timeout_s)
    watch.connected(0, now_s=9.8)
    watch.hear(1, heartbeat=2, now_s=10.0)
    watch.hear(2, heartbeat=3, now_s=10.2)
    return watch


def test_standing_still_is_a_loss_until_it_moves() -> None:
    """Not before the time is up, and over with the first move."""
    watch = following()
    watch.hear(2, heartbeat=8, now_s=11.2)
    assert not watch.lost
    watch.hear(2, heartbeat=9, now_s=11.3)
    assert watch.lost
    watch.hear(9, heartbeat=10, now_s=11.5)
    assert not watch.lost


def test_program_without_the_copy_is_no_loss() -> None:
    """What never moved is not watched, whatever was left in the register."""
    watch = EchoWatch(1.0)
    watch.connected(77, now_s=0.0)
    watch.hear(77, heartbeat=1000, now_s=100.0)
    assert not watch.lost


def test_echo_of_a_heartbeat_that_stands_still_is_no_loss() -> None:
    """There is nothing new to copy while the inspector itself hangs; the time starts when it goes on."""
    watch = following()
    watch.hear(3, heartbeat=3, now_s=10.4)
    watch.hear(3, heartbeat=3, now_s=60.0)
    watch.hear(3, heartbeat=4, now_s=60.9)
    assert not watch.lost


def test_loss_outlasts_a_connection() -> None:
    """Another value found by a new connection is no move; one that comes after it is."""
    watch = following()
    watch.hear(2, heartbeat=9, now_s=11.3)
    watch.connected(0, now_s=20.0)
    watch.hear(0, heartbeat=60, now_s=20.2)
    assert watch.lost
    watch.hear(60, heartbeat=61, now_s=20.4)
    assert not watch.lost


def test_time_without_a_connection_is_not_counted() -> None:
    """Nothing could be heard meanwhile."""
    watch = following()
    watch.connected(2, now_s=60.0)
    watch.hear(2, heartbeat=5, now_s=60.9)
    assert not watch.lost
    watch.hear(2, heartbeat=6, now_s=61.1)
    assert watch.lost


def test_zero_watches_nothing() -> None:
    """As the settings say."""
    watch = following(timeout_s=0.0)
    watch.hear(2, heartbeat=900, now_s=900.0)
    assert not watch.lost
