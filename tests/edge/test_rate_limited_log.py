"""Warnings of one kind are written once a period and counted always."""

from __future__ import annotations

import pytest
import structlog
from structlog.testing import LogCapture

from edge.rate_limited_log import RateLimitedLog


@pytest.fixture
def events() -> LogCapture:
    return LogCapture()


@pytest.fixture
def log(events: LogCapture) -> RateLimitedLog:
    return RateLimitedLog(structlog.wrap_logger(structlog.PrintLogger(), processors=[events]))


def test_a_kind_is_told_once_a_period(log: RateLimitedLog, events: LogCapture) -> None:
    """The first at once, those of the ten seconds after it together, and nothing where none came."""
    for now_s in (1.0, 2.0, 10.9):
        log.warning("stray", now_s=now_s)
        log.tell_when_due(now_s)
    log.tell_when_due(now_s=11.0)
    log.tell_when_due(now_s=30.0)
    assert [(event["count"], event["total"]) for event in events.entries] == [(1, 1), (2, 3)]


def test_kinds_do_not_silence_each_other(log: RateLimitedLog, events: LogCapture) -> None:
    """A flood on one line leaves the first line of another's log untouched."""
    for name in ("line1", "line1", "line2"):
        log.warning("undecodable", "bad", now_s=0.0, line=name)
    assert [(event["line"], event["detail"]) for event in events.entries] == [
        ("line1", "bad"),
        ("line2", "bad"),
    ]
