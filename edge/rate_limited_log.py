"""Warnings that an outsider could bring by the thousand: all are counted, few lines are written."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

_PERIOD_S = 10.0


@dataclass(slots=True)
class _Kind:
    """One event with its labels: how often it happened, and what of that the log knows."""

    event: str
    labels: dict[str, str]
    total: int = 0
    told: int = 0
    detail: str = ""
    next_s: float = float("-inf")


class RateLimitedLog:
    """Writes at most one line a period for each event and set of labels; the rest is summed up in the next.

    Labels are names of our own (line, reason): every new one is remembered. What an outsider wrote goes into
    `detail`, of which the latest is kept.

    Args:
        log: where the lines go.
        period_s: between two lines of the same kind.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger, period_s: float = _PERIOD_S) -> None:
        self._log = log
        self._period_s = period_s
        self._kinds: dict[tuple[str, ...], _Kind] = {}

    def warning(self, event: str, detail: str = "", now_s: float | None = None, **labels: str) -> None:
        """Count one; log it at once where its kind is not known to the log since a period.

        Args:
            event: what happened.
            detail: of this one.
            now_s: on the monotonic clock.
            labels: what tells this kind from others.
        """
        key = (event, *(text for label in sorted(labels.items()) for text in label))
        kind = self._kinds.setdefault(key, _Kind(event, labels))
        kind.total += 1
        kind.detail = detail
        self._tell_if_due(kind, time.monotonic() if now_s is None else now_s)

    def tell_when_due(self, now_s: float | None = None) -> None:
        """Log what was held back and whose period is over; a work loop calls it once a pass."""
        now_s = time.monotonic() if now_s is None else now_s
        for kind in self._kinds.values():
            self._tell_if_due(kind, now_s)

    def _tell_if_due(self, kind: _Kind, now_s: float) -> None:
        if kind.total == kind.told or now_s < kind.next_s:
            return
        detail = {"detail": kind.detail} if kind.detail else {}
        self._log.warning(kind.event, count=kind.total - kind.told, total=kind.total, **kind.labels, **detail)
        kind.told, kind.next_s = kind.total, now_s + self._period_s
