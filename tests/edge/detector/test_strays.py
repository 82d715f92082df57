"""Messages of no line are told once a period."""

from __future__ import annotations

import structlog
from structlog.testing import LogCapture

from edge.detector.strays import Strays


def test_strays_are_told_once_a_period() -> None:
    """The first at once, those of the ten seconds after it together, and nothing where none came."""
    events = LogCapture()
    strays = Strays(structlog.wrap_logger(structlog.PrintLogger(), processors=[events]))
    strays.tell_when_due(now_s=0.0)
    for now_s in (1.0, 2.0, 10.9, 11.0):
        strays.count += 1
        strays.tell_when_due(now_s)
    strays.tell_when_due(now_s=30.0)
    assert [(event["count"], event["total"]) for event in events.entries] == [(1, 1), (3, 4)]
