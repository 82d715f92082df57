"""What tests of the driver share: one that is started, and a service's loop in its simplest form."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import structlog

from edge.plc.driver import PlcDriver
from edge.plc.events import Event
from edge.settings import PlcSettings


class Plc(Protocol):
    """A server that can be driven."""

    @property
    def settings(self) -> PlcSettings:
        """For whoever drives it."""


@contextmanager
def driven(plc: Plc, lines: Mapping[str, int]) -> Iterator[PlcDriver]:
    """A started driver."""
    driver = PlcDriver(plc.settings, lines, structlog.stdlib.get_logger())
    driver.start()
    try:
        yield driver
    finally:
        driver.stop()


def fed_until(driver: PlcDriver, holds: Callable[[], bool], seconds: float = 15.0) -> None:
    """Feed the driver until something holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        driver.feed()
        assert time.monotonic() < deadline


def next_events(driver: PlcDriver, count: int) -> list[Event]:
    """The next events, and no more than these; feeds the driver as a service's loop does."""
    events: list[Event] = []

    def all_came() -> bool:
        events.extend(driver.take_events())
        return len(events) >= count

    fed_until(driver, all_came)
    assert len(events) == count
    return events


def next_event(driver: PlcDriver) -> Event:
    """The next event, and no more than this."""
    return next_events(driver, 1)[0]
