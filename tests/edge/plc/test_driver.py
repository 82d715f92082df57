"""The driver against a real Modbus TCP server in another process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import structlog

from edge.messages import FaultCode
from edge.plc.driver import (
    HANG_S,
    Acknowledged,
    Connected,
    Disconnected,
    Event,
    PauseAsked,
    PlcDriver,
    ResetAsked,
    Telegram,
)
from edge.plc.registers import Control, LineImage, ResultCode
from edge.settings import PlcSettings

if TYPE_CHECKING:
    from tests.edge.conftest import StandInPlc

GOOD = LineImage(
    ready=True,
    result_valid=True,
    result_ok=True,
    camera_alive=True,
    detector_alive=True,
    seq=1,
    result_code=ResultCode.OK,
)
LINES = {"line1": 0, "line2": 1}


def verdict(seq: int) -> Telegram:
    return Telegram(LineImage(ready=True, seq=seq, toggle=seq % 2))


@contextmanager
def driven(plc: StandInPlc, lines: Mapping[str, int] = LINES) -> Iterator[PlcDriver]:
    """A started driver."""
    driver = PlcDriver(plc.settings, lines, structlog.stdlib.get_logger())
    driver.start()
    try:
        yield driver
    finally:
        driver.stop()


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


def fed_until(driver: PlcDriver, holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Feed the driver until something holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        driver.feed()
        assert time.monotonic() < deadline


def fed_until_shown(
    driver: PlcDriver, plc: StandInPlc, holds: Callable[[LineImage], bool], index: int = 0
) -> LineImage:
    """As `StandInPlc.wait_for`, with a service that lives meanwhile."""

    def shown(image: LineImage) -> bool:
        driver.feed()
        return holds(image)

    return plc.wait_for(shown, index=index)


@pytest.fixture
def driver(plc: StandInPlc) -> Iterator[PlcDriver]:
    """Connected and resumed."""
    with driven(plc) as started:
        assert next_event(started) == Connected(again=False)
        started.resume()
        yield started


def test_first_word_is_the_safe_state(plc: StandInPlc) -> None:
    """Whatever the line says, a PLC that was just connected sees no OK before the service knows of it."""
    with driven(plc) as driver:
        driver.show("line1", Telegram(GOOD))
        assert next_event(driver) == Connected(again=False)
        image = fed_until_shown(driver, plc, lambda image: image.seq == 1)
        assert (image.ready, image.result_ok, image.fault) == (False, False, True)
        assert (image.result_code, image.fault_code) == (ResultCode.NONE, FaultCode.RESULTS_LOST)
        driver.feed()
        driver.resume()
        assert fed_until_shown(driver, plc, lambda image: image.ready).result_ok


def test_each_line_has_its_block(plc: StandInPlc, driver: PlcDriver) -> None:
    """The second line's registers are 32 further on."""
    driver.show("line1", Telegram(LineImage(seq=11)))
    driver.show("line2", Telegram(LineImage(seq=22)))
    plc.wait_for(lambda image: image.seq == 11, index=0)
    plc.wait_for(lambda image: image.seq == 22, index=1)


def test_each_verdict_is_one_write_in_order(plc: StandInPlc, driver: PlcDriver) -> None:
    """Twenty verdicts at once are all shown, none twice out of turn; heartbeats between them do no harm."""
    for seq in range(1, 21):
        driver.tell("line1", verdict(seq))
    fed_until_shown(driver, plc, lambda image: image.seq == 20)
    seqs = [image.seq for image in plc.history()]
    assert seqs == sorted(seqs)
    assert set(seqs) == set(range(21))
    # The registers change before the write has returned and is counted.
    fed_until(driver, lambda: driver.counters()["written"] == 20)


def test_a_verdict_does_not_wait_for_the_beat_of_all_lines(plc: StandInPlc) -> None:
    """Thirty-one lines beat without a pause; a verdict comes after at most two other writes."""
    lines = {f"line{number}": number for number in range(31)}
    with driven(plc, lines) as driver:
        next_event(driver)
        driver.resume()
        told_ns = []
        for seq in range(1, 11):
            told_ns.append(time.monotonic_ns())
            driver.tell("line7", verdict(seq))
            fed_until_shown(driver, plc, lambda image: image.seq == len(told_ns), index=7)
        writes = plc.writes()
    for seq, since_ns in enumerate(told_ns, start=1):
        assert [image.seq for mono_ns, image in writes if mono_ns > since_ns].index(seq) <= 2


def test_heartbeat_counts_while_the_service_lives(plc: StandInPlc, driver: PlcDriver) -> None:
    """Each beat is one more."""
    fed_until(driver, lambda: plc.image().heartbeat > 5)
    beats = [image.heartbeat for image in plc.history()]
    assert beats == sorted(beats)
    assert set(beats) == set(range(max(beats) + 1))


def test_hanging_service_is_a_safe_state(plc: StandInPlc, driver: PlcDriver) -> None:
    """Not fed any more: soon no OK is shown and the heartbeat stands still; fed again, all is as before."""
    driver.tell("line1", Telegram(GOOD))
    fed_until_shown(driver, plc, lambda image: image.result_ok)
    since = time.monotonic()
    driver.feed()
    image = plc.wait_for(lambda image: image.fault)
    assert HANG_S <= time.monotonic() - since < HANG_S + 2.0
    assert (image.ready, image.result_ok, image.result_code) == (False, False, ResultCode.NONE)
    written = len(plc.history())
    while len(plc.history()) < written + 5:
        assert plc.image().heartbeat == image.heartbeat
    fed_until_shown(driver, plc, lambda image: image.ready)


def test_acknowledge_is_an_edge(plc: StandInPlc, driver: PlcDriver) -> None:
    """One event for one change from 0 to 1, with the counts the PLC had been shown."""
    driver.show("line1", Telegram(LineImage(ng_alarm=True), ng_events=3, fault_events=2))
    fed_until_shown(driver, plc, lambda image: image.ng_alarm)
    plc.write(Control(acknowledge=1))
    assert next_event(driver) == Acknowledged("line1", 3, 2)
    plc.write(Control(acknowledge=1, reset=1))
    assert next_event(driver) == ResetAsked("line1", 3, 2)
    plc.write(Control())
    plc.write(Control(pause=1))
    assert next_event(driver) == PauseAsked("line1", True)
    plc.write(Control(acknowledge=1))
    assert next_events(driver, 2) == [
        Acknowledged("line1", 3, 2),
        PauseAsked("line1", False),
    ]


def test_acknowledge_of_the_other_line(plc: StandInPlc, driver: PlcDriver) -> None:
    """Control blocks are a line's own."""
    plc.write(Control(acknowledge=1), index=1)
    assert next_event(driver) == Acknowledged("line2", 0, 0)


def test_acknowledge_left_over_is_no_edge(plc: StandInPlc) -> None:
    """A PLC that still holds 1 from before has not seen what is shown now; a pause still counts."""
    plc.write(Control(acknowledge=1, reset=1, pause=1))
    with driven(plc) as driver:
        assert next_events(driver, 2) == [Connected(again=False), PauseAsked("line1", True)]
        plc.write(Control(pause=1))
        beat = plc.image().heartbeat
        fed_until(driver, lambda: plc.image().heartbeat > beat + 2)
        plc.write(Control(acknowledge=1, pause=1))
        assert next_event(driver) == Acknowledged("line1", 0, 0)


def test_connection_comes_back(plc: StandInPlc, driver: PlcDriver) -> None:
    """Told once that it is lost, retries without end, and the safe state is the first word again."""
    driver.feed()
    driver.tell("line1", Telegram(GOOD))
    fed_until_shown(driver, plc, lambda image: image.result_ok)
    plc.stop()
    assert isinstance(next_event(driver), Disconnected)
    driver.tell("line1", Telegram(GOOD))
    driver.tell("line1", Telegram(GOOD))
    plc.start()
    assert next_event(driver) == Connected(again=True)
    first = plc.history()[0]
    assert (first.ready, first.result_ok, first.fault) == (False, False, True)
    assert not plc.image().result_ok
    driver.feed()
    driver.resume()
    fed_until_shown(driver, plc, lambda image: image.ready)
    assert (driver.counters()["coalesced"], driver.counters()["reconnects"]) == (2, 1)


def test_absent_plc_holds_nobody_up(plc: StandInPlc) -> None:
    """Without a PLC a thousand verdicts are taken at once and counted; stopping takes no time either."""
    plc.stop()
    with driven(plc) as driver:
        assert isinstance(next_event(driver), Disconnected)
        since = time.monotonic()
        for seq in range(1000):
            driver.tell("line1", verdict(seq))
        driver.stop()
        assert time.monotonic() - since < 2.0
        assert driver.counters()["coalesced"] == 1000
    plc.start()


def test_stopped_driver_leaves_the_safe_state(plc: StandInPlc, driver: PlcDriver) -> None:
    """An orderly end looks like a loss to the PLC; alarms stay shown."""
    driver.feed()
    driver.tell("line1", Telegram(GOOD))
    fed_until_shown(driver, plc, lambda image: image.result_ok)
    driver.stop()
    image = plc.image()
    assert (image.ready, image.result_ok, image.fault) == (False, False, True)
    assert image.fault_code == FaultCode.RESULTS_LOST


def test_refusing_plc_is_told_in_words() -> None:
    """A PLC without these registers is a lost link that says why."""
    command = [sys.executable, "-m", "edge.plc.simulator", "--port", "0", "--registers", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().split()[1])
            driver = PlcDriver(PlcSettings(port=port), LINES, structlog.stdlib.get_logger())
            driver.start()
            event = next_event(driver)
            driver.stop()
        finally:
            process.kill()
    assert event == Disconnected("the PLC refuses to read holding register 1000 of unit 1 (exception code 2)")
