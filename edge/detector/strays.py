"""Messages of no line of ours: dropped, counted, and told once a period however many come."""

from __future__ import annotations

import time

import structlog

_PERIOD_S = 10.0


class Strays:
    """A speaking subscriber gets whatever its publishers send, subscribed to or not: XSUB does not filter.

    Attributes:
        count: how many there were.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._told = 0
        self._next_s = float("-inf")
        self.count = 0

    def tell_when_due(self, now_s: float | None = None) -> None:
        """Log how many have come since the last time, if any have, and at most once a period.

        Args:
            now_s: on the monotonic clock.
        """
        now_s = time.monotonic() if now_s is None else now_s
        if self.count == self._told or now_s < self._next_s:
            return
        self._log.warning("messages_of_no_line", count=self.count - self._told, total=self.count)
        self._told, self._next_s = self.count, now_s + _PERIOD_S
