"""What is too old leaves the record, a small transaction at a time, between the verdicts of a running line.

A verdict goes when it is older than the limit, its part is settled for good, and nobody owes it an
acknowledge; an alarm, when its acknowledge is older than the limit. The counts of each camera start stay, so
that a part that left the record cannot be recorded a second time.
"""

from __future__ import annotations

from edge.results.record import OldRows, Record

_ROWS_A_STEP = 500
# Faster than any line records, and slow enough for the verdicts that share the disk.
_STEP_S = 0.25
_SWEEP_S = 3600.0
_NS_PER_DAY = 86_400 * 10**9


class Retention:
    """Sweeps through the record, from the oldest row to the first that is young enough, once an hour.

    Args:
        record: the caller's thread is its only writer.
        keep_days: age in days from which rows go.
    """

    def __init__(self, record: Record, keep_days: int) -> None:
        self._record = record
        self._keep_ns = keep_days * _NS_PER_DAY
        self._place = OldRows()
        self._deleted = 0
        self._next_s = float("-inf")

    def step(self, now_s: float, wall_ns: int) -> int | None:
        """Delete some rows where it is time for that; gives how many the sweep has deleted when this ends it.

        Args:
            now_s: seconds on a monotonic clock.
            wall_ns: UTC.

        Raises:
            Fault: `record_failed`, as for every write.
        """
        if now_s < self._next_s:
            return None
        self._place = self._record.delete_old(wall_ns - self._keep_ns, self._place, _ROWS_A_STEP)
        self._deleted += self._place.deleted
        if not self._place.done:
            self._next_s = now_s + _STEP_S
            return None
        deleted, self._deleted = self._deleted, 0
        self._place, self._next_s = OldRows(), now_s + _SWEEP_S
        return deleted
