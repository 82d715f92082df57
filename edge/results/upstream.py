"""Whether a camera or detector is alive: pure, from its beats and the time."""

from __future__ import annotations

from edge.messages import Beat, ServiceState


class Upstream:
    """One service of one line, as its beats tell.

    A service is alive while it beats and does not say FAULT itself. One that was never heard of is not
    alive, but not lost either.

    Args:
        lost_after_s: silence that is a loss.
    """

    def __init__(self, lost_after_s: float) -> None:
        self._lost_after_s = lost_after_s
        self._beat: Beat | None = None
        self._heard_s = 0.0
        self.alive = False

    @property
    def ready(self) -> bool:
        """Alive, and doing its work."""
        return self.alive and self._beat is not None and self._beat.state is ServiceState.READY

    @property
    def heard_of(self) -> bool:
        """Whether it ever beat."""
        return self._beat is not None

    @property
    def trouble(self) -> str:
        """What it last said of itself in FAULT, or that it is silent."""
        if self._beat is not None and self._beat.state is ServiceState.FAULT:
            return self._beat.last_error or "FAULT"
        return "no heartbeat"

    def hear(self, beat: Beat, now_s: float) -> bool:
        """Take a beat; True where it was started anew, came back from silence, or is heard the first time.

        Args:
            beat: as received.
            now_s: seconds on a monotonic clock, as everywhere here.
        """
        before, self._beat = self._beat, beat
        was_silent = now_s - self._heard_s > self._lost_after_s
        self._heard_s = now_s
        return before is None or before.epoch != beat.epoch or was_silent

    def is_lost(self, now_s: float) -> bool:
        """Look at the clock; True once for each time it stops being alive."""
        was_alive = self.alive
        self.alive = (
            self._beat is not None
            and self._beat.state is not ServiceState.FAULT
            and now_s - self._heard_s <= self._lost_after_s
        )
        return was_alive and not self.alive
