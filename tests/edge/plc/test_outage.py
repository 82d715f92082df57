"""What is one outage, and the pauses in it."""

from __future__ import annotations

from edge.plc.outage import HELD_S, Outage


def test_one_outage_is_told_once() -> None:
    """Its loss and its return, however often both happen before a connection has held."""
    outage = Outage()
    assert (outage.tell_loss(), outage.tell_return()) == (True, True)
    outage = outage.after(connected_s=HELD_S / 2)
    assert (outage.tell_loss(), outage.tell_return()) == (False, False)
    outage = outage.after(connected_s=HELD_S)
    assert (outage.tell_loss(), outage.tell_return()) == (True, True)


def test_pauses_grow_until_a_connection_has_held() -> None:
    """Up to two seconds; one that was dropped soon does not start them anew."""
    outage = Outage()
    pauses = []
    for _ in range(7):
        outage = outage.after(connected_s=0.5)
        pauses.append(outage.next_pause_s())
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert outage.after(connected_s=HELD_S).next_pause_s() == 0.1
