"""Drives the PLC from a thread of its own, so that a slow or absent PLC never holds up a verdict.

The results service says what each line is to show; this thread writes it, beats, and reads what the PLC asks.
It believes a line's image only while the service proves to be alive (`feed`): else the PLC sees the safe
state and a heartbeat that stands still, until the service has said anew what is right (`resume`).

What is written, the first of these that there is:

    lines that owe the PLC the safe state    before every other write, one request a line
    verdicts                                 each in a request of its own, in order
    one changed line, then one line's beat   so that the beats of many lines hold up no verdict
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Condition

import structlog

from edge.background import in_background
from edge.messages import FaultCode
from edge.plc.echo import EchoWatch
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
from edge.plc.link import Link, LinkError
from edge.plc.outage import Outage
from edge.plc.registers import (
    CONTROL_LENGTH,
    Control,
    LineImage,
    control_address,
    decode_control,
    encode_image,
    image_address,
    is_safe,
    safe_state,
)
from edge.settings import PlcSettings

# A service that has not fed the driver for so long hangs; the safe state is due within a second.
HANG_S = 0.75
# The rest of that second. A PLC that takes longer for the safe state of all lines is too slow for them.
_TELL_S = 0.25
# Verdicts that may wait for a slow PLC; more would be told too late to be of use.
_MOST_WAITING = 256
_STOP_TIMEOUT_S = 5.0
_COUNTERS = ("written", "coalesced", "reconnects", "hangs", "echo_lost", "requests", "request_us")
_NS_PER_US = 1000


@dataclass(frozen=True, slots=True)
class Telegram:
    """What a line is to show, and how many alarm events that tells of: an acknowledge covers these alone."""

    image: LineImage
    ng_events: int = 0
    fault_events: int = 0

    def withdrawn(self, code: int) -> Telegram:
        """The same in the safe state; `code` tells why where no other fault is shown."""
        return dataclasses.replace(self, image=safe_state(self.image, code))


class PlcDriver:
    """Writes the registers of all lines. Methods may be called from one other thread.

    Counters: `written` verdicts, `coalesced` verdicts that the PLC was never shown (no link, or too many at
    once), `reconnects`, `hangs` of the service, `echo_lost`, `requests` that were answered, and the time that
    took in `request_us`.

    Args:
        settings: where the PLC is, and its deadlines.
        indices: block of each line, by name.
        log: where events go.
    """

    def __init__(
        self, settings: PlcSettings, indices: Mapping[str, int], log: structlog.stdlib.BoundLogger
    ) -> None:
        self._settings = settings
        self._indices = indices
        self._log = log
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._running: Future[None] | None = None
        # Shared, under this lock:
        self._changed = Condition()
        self._shown = {line: Telegram(LineImage()) for line in indices}
        self._stale_lines = dict.fromkeys(indices)  # in the order in which they became so
        self._waiting: deque[tuple[str, Telegram]] = deque()
        self._online = False
        self._resumed = False
        self._stopping = False
        self._fed_s = time.monotonic()
        self._counters: Counter[str] = Counter(dict.fromkeys(_COUNTERS, 0))
        # Of the driver's thread alone:
        self._heartbeat = 0
        self._to_beat: deque[str] = deque()
        self._beat_due_s = 0.0
        self._written = dict(self._shown)  # as the PLC sees them
        self._controls = {line: Control() for line in indices}
        self._echoes = {line: EchoWatch(settings.echo_timeout_ms / 1000) for line in indices}
        self._was_connected = False
        self._connected_s = 0.0
        self._outage = Outage()

    def start(self) -> None:
        """Start the thread; it connects by itself, for as long as it takes."""
        self._running = in_background("plc", self._run)

    def feed(self) -> None:
        """Say that the service is alive; to be called from its work loop.

        Raises:
            Exception: whatever ended the thread, which ends by itself only through a bug.
        """
        # The thread may have been busy with a slow PLC all the time that the service hung.
        if self._notice_hang():
            self._log_hang()
        self._fed_s = time.monotonic()
        if self._running is not None and self._running.done():
            self._running.result()

    def show(self, line: str, telegram: Telegram) -> None:
        """Replace what the line shows; of several changes in a row the PLC may see the last one only."""
        with self._changed:
            if telegram == self._shown[line]:
                return
            self._replace_shown(line, telegram)
            self._stale_lines[line] = None
            self._changed.notify()

    def tell(self, line: str, telegram: Telegram) -> None:
        """Like `show` for a verdict: each is written, in order, in a request of its own."""
        with self._changed:
            self._replace_shown(line, telegram)
            if not self._online:
                self._counters["coalesced"] += 1
                return
            if len(self._waiting) == _MOST_WAITING:
                self._waiting.popleft()
                self._counters["coalesced"] += 1
            if not self._resumed:
                telegram = telegram.withdrawn(FaultCode.RESULTS_LOST)
            self._waiting.append((line, telegram))
            self._changed.notify()

    def resume(self) -> None:
        """The answer to `Connected` and `ServiceHung`: what the lines show is right from here on."""
        with self._changed:
            # The answer to a connection that was lost meanwhile is none to the next one.
            self._resumed = self._online
            self._stale_lines.update(dict.fromkeys(self._indices))
            self._changed.notify()

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events: list[Event] = []
        while True:
            try:
                events.append(self._events.get_nowait())
            except Empty:
                return events

    def counters(self) -> dict[str, int]:
        """The counters, as of now."""
        with self._changed:
            return dict(self._counters)

    def stop(self) -> None:
        """Leave the PLC in the safe state and end the thread; returns after a few seconds at most."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._running is not None:
            concurrent.futures.wait([self._running], timeout=_STOP_TIMEOUT_S)

    def _replace_shown(self, line: str, telegram: Telegram) -> None:
        self._shown[line] = telegram
        if is_safe(telegram.image):
            self._withdraw_waiting(line, telegram.image.fault_code)

    def _withdraw_waiting(self, line: str, code: int) -> None:
        """A verdict that waits must not bring back what the safe state takes away."""
        self._waiting = deque(
            (waiting, told.withdrawn(code) if waiting == line else told) for waiting, told in self._waiting
        )

    def _run(self) -> None:
        while not self._stopping:
            try:
                with Link(self._settings) as link:
                    self._connect(link)
                    self._serve(link)
            except LinkError as error:
                self._disconnect(str(error))
                self._wait_for_stop(self._outage.next_pause_s())

    def _connect(self, link: Link) -> None:
        """A request left in the control block from before is no edge; the first word is the safe state."""
        begun_s = time.monotonic()
        for line in self._indices:
            control = self._read_control(link, line)
            self._controls[line] = dataclasses.replace(control, pause=self._controls[line].pause)
            self._echoes[line].connected(control.echo, time.monotonic())
            self._write_line(link, line)
        self._to_beat.clear()
        self._connected_s = self._beat_due_s = time.monotonic()
        again = self._was_connected and self._outage.tell_return()
        with self._changed:
            self._online = True
            self._counters["reconnects"] += self._was_connected
        if again or not self._was_connected:
            self._log.info("plc_connected", host=self._settings.host, port=self._settings.port, again=again)
            self._tell_if_slow((self._connected_s - begun_s) / 2)
        self._was_connected = True
        self._events.put(Connected(again))

    def _tell_if_slow(self, all_lines_s: float) -> None:
        if all_lines_s > _TELL_S:
            answer_ms = round(1000 * all_lines_s / len(self._indices), 1)
            self._log.warning("plc_slow", lines=len(self._indices), answer_ms=answer_ms)

    def _disconnect(self, detail: str) -> None:
        with self._changed:
            was_online, self._online = self._online, False
            self._resumed = False
            self._counters["coalesced"] += len(self._waiting)
            self._waiting.clear()
        if was_online:
            self._outage = self._outage.after(time.monotonic() - self._connected_s)
        begins = self._outage.tell_loss()
        if begins:
            self._log.warning("plc_lost", detail=detail)
        if begins or was_online:
            self._events.put(Disconnected(detail))

    def _serve(self, link: Link) -> None:
        while not self._stopping:
            self._wait_for_work()
            self._write_safe_states(link)
            self._write_verdicts(link)
            self._write_change(link)
            self._beat_next(link)
        for line, telegram in self._shown.items():
            self._write(link, line, telegram.withdrawn(FaultCode.RESULTS_LOST))

    def _wait_for_work(self) -> None:
        """Until there is something to write, a beat is due, or the service hangs."""
        with self._changed:
            until_s = 0.0 if self._to_beat else self._beat_due_s
            if self._resumed:
                until_s = min(until_s, self._fed_s + HANG_S)
            self._changed.wait_for(
                lambda: self._waiting or self._stale_lines or self._stopping,
                timeout=max(until_s - time.monotonic(), 0),
            )

    def _write_safe_states(self, link: Link) -> None:
        """Every line that has become safe and does not look so yet."""
        hangs = self._notice_hang()
        while owing := self._lines_owing_the_safe_state():
            for line in owing:
                self._write_line(link, line)
        if hangs:
            # Not before: a log that nobody reads may be what the service waits for.
            self._log_hang()

    def _notice_hang(self) -> bool:
        """True once a hang: from here on nobody stands behind what the lines say."""
        with self._changed:
            if not self._resumed or not self._service_hangs():
                return False
            self._resumed = False
            self._counters["hangs"] += 1
            for line in self._indices:
                self._withdraw_waiting(line, FaultCode.RESULTS_LOST)
        self._events.put(ServiceHung())
        return True

    def _log_hang(self) -> None:
        self._log.error("service_hangs", silent_s=HANG_S)

    def _lines_owing_the_safe_state(self) -> list[str]:
        """Only what looks unsafe: a line that changes within the safe state must not hold up the others."""
        with self._changed:
            return [
                line
                for line, telegram in self._shown.items()
                if (not self._resumed or is_safe(telegram.image)) and not is_safe(self._written[line].image)
            ]

    def _write_verdicts(self, link: Link) -> None:
        """Those that wait now; of what comes meanwhile the beats must not wait for the end."""
        for _ in range(len(self._waiting)):
            with self._changed:
                line, telegram = self._waiting.popleft()
                # What follows the last verdict is written after it, or not at all if it is that verdict.
                if telegram is self._shown[line]:
                    self._stale_lines.pop(line, None)
            self._write(link, line, telegram)
            with self._changed:
                self._counters["written"] += 1
            self._write_safe_states(link)

    def _write_change(self, link: Link) -> None:
        """The longest stale line, if there is one."""
        with self._changed:
            # A verdict that came just now has its own turn; it must not be overtaken.
            line = next((line for line in self._stale_lines if not self._has_waiting(line)), None)
        if line is not None:
            self._write_line(link, line)
            self._write_safe_states(link)

    def _beat_next(self, link: Link) -> None:
        """One line with the heartbeat of now, and what the PLC asks of it."""
        if not self._to_beat and (now := time.monotonic()) >= self._beat_due_s:
            if not self._service_hangs():
                self._heartbeat = (self._heartbeat + 1) % 2**16
            self._to_beat.extend(self._indices)
            # A late beat is not made up for by a burst of them.
            self._beat_due_s = max(self._beat_due_s + self._settings.heartbeat_ms / 1000, now)
        if self._to_beat:
            line = self._to_beat.popleft()
            self._write_line(link, line)
            self._follow_control(line, self._read_control(link, line))

    def _follow_control(self, line: str, control: Control) -> None:
        before, self._controls[line] = self._controls[line], control
        shown = self._written[line]
        if control.acknowledge and not before.acknowledge:
            self._events.put(Acknowledged(line, shown.ng_events, shown.fault_events))
        if control.reset and not before.reset:
            self._events.put(ResetAsked(line, shown.ng_events, shown.fault_events))
        if bool(control.pause) != bool(before.pause):
            self._events.put(PauseAsked(line, bool(control.pause)))
        self._follow_echo(line, control.echo)

    def _follow_echo(self, line: str, echo: int) -> None:
        watch = self._echoes[line]
        was_lost = watch.lost
        watch.hear(echo, self._heartbeat, time.monotonic())
        if watch.lost and not was_lost:
            with self._changed:
                self._counters["echo_lost"] += 1
            self._events.put(EchoLost(line))
        elif was_lost and not watch.lost:
            self._events.put(EchoBack(line))

    def _read_control(self, link: Link, line: str) -> Control:
        address = control_address(self._settings.base, self._indices[line])
        with self._counted_request():
            return decode_control(link.read(address, CONTROL_LENGTH))

    def _write_line(self, link: Link, line: str) -> None:
        """Show what the line is to show now, or the safe state while nobody stands behind that."""
        with self._changed:
            telegram = shown = self._shown[line]
            if not self._has_waiting(line):
                self._stale_lines.pop(line, None)
            else:
                # Its verdicts come first: what the PLC sees already, or the safe state of that.
                telegram = self._written[line]
                if is_safe(shown.image):
                    telegram = telegram.withdrawn(shown.image.fault_code)
            if not self._resumed:
                telegram = telegram.withdrawn(FaultCode.RESULTS_LOST)
        self._write(link, line, telegram)

    def _write(self, link: Link, line: str, telegram: Telegram) -> None:
        address = image_address(self._settings.base, self._indices[line])
        image = dataclasses.replace(telegram.image, heartbeat=self._heartbeat)
        with self._counted_request():
            link.write(address, encode_image(image))
        self._written[line] = telegram

    @contextmanager
    def _counted_request(self) -> Iterator[None]:
        """One that fails is not counted: its time says nothing of the PLC's."""
        begun_ns = time.monotonic_ns()
        yield
        took_us = (time.monotonic_ns() - begun_ns) // _NS_PER_US
        with self._changed:
            self._counters["requests"] += 1
            self._counters["request_us"] += took_us

    def _has_waiting(self, line: str) -> bool:
        return any(waiting == line for waiting, _ in self._waiting)

    def _service_hangs(self) -> bool:
        return time.monotonic() - self._fed_s > HANG_S

    def _wait_for_stop(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=seconds)
