"""Whether the PLC's program runs, from the heartbeat that it copies back: pure."""

from __future__ import annotations


class EchoWatch:
    """The echo of one line: it has to move while the heartbeat does.

    A PLC in STOP still answers requests, so a standing connection tells nothing of its program. The echo is
    watched from the first time it moves: a program that never copies the heartbeat is no fault. What was lost
    stays lost over a new connection, until the echo moves.

    Args:
        timeout_s: standing still for longer is a loss; 0 watches nothing.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._is_watched = False
        self._echo = 0
        self._moved_s = 0.0
        self.lost = False

    def connected(self, echo: int, now_s: float) -> None:
        """A new connection: what it finds there says nothing yet, and the time starts anew."""
        self._echo, self._moved_s = echo, now_s

    def hear(self, echo: int, heartbeat: int, now_s: float) -> None:
        """Take what was read.

        Args:
            echo: read just now.
            heartbeat: written last; an echo that equals it has nothing more to copy.
            now_s: seconds on a monotonic clock.
        """
        if echo != self._echo:
            self._is_watched = self._timeout_s > 0
            self.lost = False
            self.connected(echo, now_s)
        elif echo == heartbeat:
            self._moved_s = now_s
        elif self._is_watched and now_s - self._moved_s > self._timeout_s:
            self.lost = True
