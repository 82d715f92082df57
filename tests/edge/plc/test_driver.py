"""The driver against a real Modbus TCP server in another process."""

from __future__ import annotations

import dataclasses
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import capture_logs

from edge.messages import FaultCode
from edge.plc.driver import HANG_S, PlcDriver, Telegram
from edge.plc.events import (
    Acknowledged,
    Connected,
    Disconnected,
    EchoBack,
    EchoLost,
    Event,
    PauseAsked,
    ResetAsked,
    ServiceHung,
)
from edge.plc.registers import (
    Control,
    LineImage,
    ResultCode,
    decode_image,
    image_address,
    is_safe,
    safe_state,
)
from edge.settings import PlcSettings
from tests.edge.plc.driving import driven, fed_until, next_event, next_events

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
ALL_LINES = {f"line{number}": number for number in range(31)}


def verdict(seq: int) -> Telegram:
    return Telegram(LineImage(ready=True, seq=seq, toggle=seq % 2))


class SlowPlc:
    """A Modbus TCP server of one connection at a time that the test can keep from answering.

    Args:
        heartbeat_ms: of the driver.
        drops_after: requests after which it drops each connection; 0 for never.
    """

    _READ = 3
    _HEADER = struct.Struct(">HHHBB")  # transaction, protocol, length, unit, function code

    def __init__(self, heartbeat_ms: int, drops_after: int = 0) -> None:
        self._drops_after = drops_after
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        # The test decides when an answer comes.
        self.settings = PlcSettings(
            port=port, heartbeat_ms=heartbeat_ms, timeout_ms=10_000, safe_within_ms=10_000
        )
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.is_held = threading.Event()
        self.requests: list[tuple[int, LineImage] | None] = []  # address and image written; None for a read
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def hold(self) -> None:
        """Answer no further request until `may_answer` is set; `is_held` once one waits for that."""
        self.is_held.clear()
        self.may_answer.clear()

    def images(self, index: int) -> list[LineImage]:
        """What was written for a line, in order."""
        address = image_address(0, index)
        return [request[1] for request in list(self.requests) if request and request[0] == address]

    def close(self) -> None:
        """To be called when the client has gone."""
        self.may_answer.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        answered = 0
        with connection, connection.makefile("rb") as stream:
            while header := stream.read(self._HEADER.size):
                transaction, _, length, unit, function = self._HEADER.unpack(header)
                body = stream.read(length - 2)
                address, count = struct.unpack(">HH", body[:4])
                if function == self._READ:
                    self.requests.append(None)
                    answer = bytes([2 * count]) + bytes(2 * count)
                else:
                    image = decode_image(list(struct.unpack(f">{count}H", body[5:])))
                    self.requests.append((address, image))
                    answer = body[:4]
                if not self.may_answer.is_set():
                    self.is_held.set()
                    self.may_answer.wait(10)
                connection.sendall(
                    self._HEADER.pack(transaction, 0, 2 + len(answer), unit, function) + answer
                )
                answered += 1
                if answered == self._drops_after:
                    return


@contextmanager
def slow_plc(heartbeat_ms: int, drops_after: int = 0) -> Iterator[SlowPlc]:
    """Its server; to be left when nobody is connected any more."""
    plc = SlowPlc(heartbeat_ms, drops_after)
    try:
        yield plc
    finally:
        plc.close()


def fed_until_shown(
    driver: PlcDriver, plc: StandInPlc, holds: Callable[[LineImage], bool], index: int = 0
) -> LineImage:
    """As `StandInPlc.wait_for`, with a service that lives meanwhile."""

    def shown(image: LineImage) -> bool:
        driver.feed()
        return holds(image)

    return plc.wait_for(shown, index=index)


def show_all_good(driver: PlcDriver, plc: SlowPlc, lines: Mapping[str, int]) -> None:
    """The PLC has just been connected and shows an OK on every line."""
    next_event(driver)
    driver.resume()
    for line in lines:
        driver.show(line, Telegram(GOOD))
    fed_until(
        driver,
        lambda: all(images and images[-1].result_ok for images in map(plc.images, lines.values())),
    )


@pytest.fixture
def driver(plc: StandInPlc) -> Iterator[PlcDriver]:
    """Connected and resumed."""
    with driven(plc, LINES) as started:
        assert next_event(started) == Connected(again=False)
        started.resume()
        yield started


def test_first_word_is_the_safe_state(plc: StandInPlc) -> None:
    """Whatever the line says, a PLC that was just connected sees no OK before the service knows of it."""
    with driven(plc, LINES) as driver:
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


def test_requests_are_counted_with_their_time(driver: PlcDriver, plc: StandInPlc) -> None:
    """Writes and reads; their mean is what the PLC takes for an answer."""
    fed_until(driver, lambda: driver.counters()["requests"] >= 20)
    counters = driver.counters()
    assert counters["request_us"] / counters["requests"] > 1


def test_a_verdict_does_not_wait_for_the_beat_of_all_lines(plc: StandInPlc) -> None:
    """Thirty-one lines beat without a pause; a verdict comes after at most two other writes."""
    with driven(plc, ALL_LINES) as driver:
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


def test_a_change_does_not_overtake_verdicts_that_came_before_it_was_written() -> None:
    """With the PLC busy at another line: stale line1 shows C, then D, and D not before C."""
    with slow_plc(heartbeat_ms=333) as plc, driven(plc, LINES) as driver:
        show_all_good(driver, plc, LINES)
        plc.hold()
        driver.tell("line2", verdict(1))
        assert plc.is_held.wait(10)
        driver.show("line1", Telegram(LineImage(busy=True)))
        driver.tell("line1", verdict(3))
        driver.tell("line1", verdict(4))
        driver.feed()
        plc.may_answer.set()
        fed_until(driver, lambda: plc.images(0)[-1].seq == 4 and driver.counters()["written"] == 3)
        # Beats may repeat what is shown.
        assert [seq for seq, _ in groupby(image.seq for image in plc.images(0) if not image.fault)][-3:] == [
            GOOD.seq,
            3,
            4,
        ]


def test_lines_that_become_safe_are_all_written_before_the_next_beat() -> None:
    """Thirty-one lines beat without a pause; a loss of all takes one request a line, not three."""
    with slow_plc(heartbeat_ms=20) as plc, driven(plc, ALL_LINES) as driver:
        show_all_good(driver, plc, ALL_LINES)
        plc.hold()
        assert plc.is_held.wait(10)
        for line in ALL_LINES:
            driver.show(line, Telegram(safe_state(GOOD, FaultCode.DETECTOR_LOST)))
        before = len(plc.requests)
        driver.feed()
        plc.may_answer.set()
        fed_until(driver, lambda: len(plc.requests) >= before + 33)
        # What was begun ends first: at most a beat's write and its read.
        after = [request for request in plc.requests[before : before + 33] if request]
    assert {address for address, image in after if is_safe(image)} == {
        image_address(0, number) for number in range(31)
    }


def test_a_loss_goes_before_verdicts_that_wait_and_withdraws_them() -> None:
    """With the PLC busy: both lines become safe first; the verdicts come after that, in order, as no OK."""
    with slow_plc(heartbeat_ms=20) as plc, driven(plc, LINES) as driver:
        show_all_good(driver, plc, LINES)
        plc.hold()
        assert plc.is_held.wait(10)
        before = len(plc.requests)
        for seq in range(2, 12):
            driver.tell("line1", Telegram(dataclasses.replace(GOOD, seq=seq)))
        for line in LINES:
            last = dataclasses.replace(GOOD, seq=11 if line == "line1" else 1)
            driver.show(line, Telegram(safe_state(last, FaultCode.DETECTOR_LOST)))
        driver.feed()
        plc.may_answer.set()
        fed_until(driver, lambda: driver.counters()["written"] == 10)
        after = [request for request in plc.requests[before:] if request]
    # What was begun ends first: at most a beat's write and its read.
    assert all(is_safe(image) for _, image in after)
    assert {address for address, _ in after[:2]} == {image_address(0, 0), image_address(0, 1)}
    seqs = [image.seq for address, image in after if address == image_address(0, 0)]
    assert [seq for seq, _ in groupby(seqs)] == list(range(1, 12))


def test_heartbeat_counts_while_the_service_lives(plc: StandInPlc, driver: PlcDriver) -> None:
    """Each beat is one more."""
    fed_until(driver, lambda: plc.image().heartbeat > 5)
    beats = [image.heartbeat for image in plc.history()]
    assert beats == sorted(beats)
    assert set(beats) == set(range(max(beats) + 1))


def test_hanging_service_is_a_safe_state(plc: StandInPlc, driver: PlcDriver) -> None:
    """Not fed any more: soon no OK is shown and the heartbeat stands still, until the service resumes."""
    driver.tell("line1", Telegram(GOOD))
    fed_until_shown(driver, plc, lambda image: image.result_ok)
    since = time.monotonic()
    driver.feed()
    image = plc.wait_for(lambda image: image.fault)
    assert HANG_S <= time.monotonic() - since < HANG_S + 2.0
    assert (image.ready, image.result_ok, image.result_code) == (False, False, ResultCode.NONE)
    assert image.fault_code == FaultCode.RESULTS_LOST
    written = len(plc.history())
    while len(plc.history()) < written + 5:
        assert plc.image().heartbeat == image.heartbeat
    # Alive again, but what it has to say about it has not been heard.
    assert next_event(driver) == ServiceHung()
    written = len(plc.history())
    fed_until(driver, lambda: len(plc.history()) > written + 5)
    assert all(is_safe(shown) for shown in plc.history()[written:])
    driver.resume()
    assert fed_until_shown(driver, plc, lambda image: image.ready).heartbeat > image.heartbeat
    assert driver.counters()["hangs"] == 1


def test_all_lines_of_a_hanging_service_are_told_before_anything_else() -> None:
    """Thirty-one lines beat without a pause; from the first one on, one request a line and none between."""
    with slow_plc(heartbeat_ms=20) as plc, driven(plc, ALL_LINES) as driver:
        show_all_good(driver, plc, ALL_LINES)
        before = len(plc.requests)
        # Nobody feeds the driver here.
        deadline = time.monotonic() + 10
        while not all(is_safe(images[-1]) for images in map(plc.images, ALL_LINES.values())):
            assert time.monotonic() < deadline
        after = plc.requests[before:]
    first = next(place for place, request in enumerate(after) if request and is_safe(request[1]))
    told = {request[0] for request in after[first : first + 31] if request}
    assert told == {image_address(0, number) for number in range(31)}


def test_hang_is_noticed_while_the_plc_keeps_the_driver_waiting() -> None:
    """The service is alive again before the driver could look: it is told all the same."""
    with slow_plc(heartbeat_ms=20) as plc, driven(plc, LINES) as driver:
        show_all_good(driver, plc, LINES)
        plc.hold()
        assert plc.is_held.wait(10)
        fed_s = time.monotonic()
        while time.monotonic() <= fed_s + HANG_S:
            pass
        driver.feed()
        assert driver.take_events() == [ServiceHung()]
        before = len(plc.requests)
        plc.may_answer.set()
        fed_until(driver, lambda: len(plc.requests) > before + 6)
        # What was begun ends first.
        assert all(is_safe(request[1]) for request in plc.requests[before + 2 :] if request)


def test_verdict_of_a_service_that_has_not_resumed_is_no_ok(plc: StandInPlc) -> None:
    """It is shown in its turn without the OK, also when the service resumes before it is written."""
    with driven(plc, LINES) as driver:
        next_event(driver)
        driver.tell("line1", Telegram(dataclasses.replace(GOOD, seq=7)))
        driver.show("line1", Telegram(LineImage(ready=True)))
        driver.resume()
        fed_until_shown(driver, plc, lambda image: image.ready)
        assert not any(image.result_ok for image in plc.history())
        assert any(image.seq == 7 for image in plc.history())


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
    with driven(plc, LINES) as driver:
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


def test_plc_that_drops_every_connection_is_one_outage() -> None:
    """Told once that it is lost and once that it is back, however often it accepts and drops."""
    # Of two lines: a control block read and an image written each, and one more.
    with (
        slow_plc(heartbeat_ms=20, drops_after=5) as plc,
        capture_logs() as logs,
        driven(plc, LINES) as driver,
    ):
        events: list[Event] = []

        def has_come_back_thrice() -> bool:
            events.extend(driver.take_events())
            return driver.counters()["reconnects"] >= 3

        fed_until(driver, has_come_back_thrice)
    assert [event for event in events if isinstance(event, Connected)][:3] == [
        Connected(again=False),
        Connected(again=True),
        Connected(again=False),
    ]
    assert [log["event"] for log in logs] == ["plc_connected", "plc_lost", "plc_connected"]


def test_echo_that_stands_still_is_a_stopped_plc(plc: StandInPlc) -> None:
    """The PLC's program copies a heartbeat and stops, though the PLC answers; then it goes on."""
    settings = plc.settings.model_copy(update={"echo_timeout_ms": 100})
    driver = PlcDriver(settings, LINES, structlog.stdlib.get_logger())
    driver.start()
    assert next_event(driver) == Connected(again=False)
    fed_until_shown(driver, plc, lambda image: image.heartbeat > 1)
    plc.write(Control(echo=1))
    assert next_event(driver) == EchoLost("line1")
    plc.write(Control(echo=plc.image().heartbeat))
    assert next_event(driver) == EchoBack("line1")
    assert driver.counters()["echo_lost"] == 1
    driver.stop()


def test_absent_plc_holds_nobody_up(plc: StandInPlc) -> None:
    """Without a PLC a thousand verdicts are taken at once and counted; stopping takes no time either."""
    plc.stop()
    with driven(plc, LINES) as driver:
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
