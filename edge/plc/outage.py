"""What counts as one outage of the link to the PLC, and how long to wait before it is made anew: pure."""

from __future__ import annotations

from edge.backoff import BackOff

# A connection that has stood for so long ends the outage.
HELD_S = 5.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class Outage:
    """One outage lasts until a connection has held, however often the PLC accepts and drops one meanwhile.

    So a PLC that does just that is told of once, and is asked at pauses that grow.
    """

    def __init__(self) -> None:
        self._loss_is_told = False
        self._return_is_told = False
        self._back_off = BackOff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)

    def tell_loss(self) -> bool:
        """The link failed: True where this begins an outage."""
        is_told, self._loss_is_told = self._loss_is_told, True
        return not is_told

    def tell_return(self) -> bool:
        """The link stands again: True for the first time in this outage."""
        is_told, self._return_is_told = self._return_is_told, True
        return not is_told

    def next_pause_s(self) -> float:
        """Seconds until the next attempt, each time more up to two."""
        return self._back_off.pause_s()

    def after(self, connected_s: float) -> Outage:
        """What is left of it when a connection has stood for so long."""
        return Outage() if connected_s >= HELD_S else self
