"""When the next part is due: absolute deadlines, so that the rate does not drift."""

from __future__ import annotations

import math
import time


class Pacer:
    """Deadlines at start + n / rate. Missed ones are left out: a slow stretch is not made up by a burst.

    Args:
        rate_hz: parts a second; 0: always due, the source itself sets the pace.
        now_s: the start, which is the first deadline; on the monotonic clock.
    """

    def __init__(self, rate_hz: float, now_s: float) -> None:
        self._period_s = 1.0 / rate_hz if rate_hz else 0.0
        self._start_s = now_s
        self._next = 0

    def wait_s(self, now_s: float | None = None) -> float:
        """Seconds until the next part is due; 0 when it is due now."""
        now_s = time.monotonic() if now_s is None else now_s
        return max(0.0, self._start_s + self._next * self._period_s - now_s)

    def taken(self, now_s: float | None = None) -> None:
        """The part that was due has been read: the next deadline is the first one after now."""
        if not self._period_s:
            return
        now_s = time.monotonic() if now_s is None else now_s
        passed = math.floor((now_s - self._start_s) / self._period_s)
        self._next = max(self._next, passed) + 1
