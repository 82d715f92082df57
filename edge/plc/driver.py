"""Drives the PLC from a thread of its own, so that a slow or absent PLC never holds up a verdict.

The results service says what each line is to show; this thread writes it, beats, and reads what the PLC asks.
It believes a line's image only while the service proves to be alive (`feed`): else the PLC sees the safe
state and a heartbeat that stands still.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Condition
from typing import TypeAlias

import structlog

from edge.background import in_background
from edge.messages import FaultCode
from edge.plc.link import Link, LinkError
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
# Verdicts that may wait for a slow PLC; more would be told too late to be of use.
_MOST_WAITING = 256
_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 2.0
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Telegram:
    """What a line is to show, and how many alarm events that tells of: an acknowledge covers these alone."""

    image: LineImage
    ng_events: int = 0
    fault_events: int = 0


@dataclass(frozen=True, slots=True)
class Connected:
    """The link stands; the PLC sees the safe state until `resume`. `again`: it had been lost."""

    again: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link is lost, or could not be made for the first time."""

    detail: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The PLC acknowledged what it had been shown."""

    line: str
    ng_events: int
    fault_events: int


@dataclass(frozen=True, slots=True)
class ResetAsked:
    """The PLC asked to start over, and had been shown so many events."""

    line: str
    ng_events: int
    fault_events: int


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """The PLC paused the line or let it run again."""

    line: str
    paused: bool


Event: TypeAlias = Connected | Disconnected | Acknowledged | ResetAsked | PauseAsked


class PlcDriver:
    """Writes the registers of all lines. Methods may be called from one other thread.

    Counters: `written` verdicts, `coalesced` verdicts that the PLC was never shown (no link, or too many at
    once), `reconnects`.

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
        self._counters: Counter[str] = Counter(written=0, coalesced=0, reconnects=0)
        # Of the driver's thread alone:
        self._heartbeat = 0
        self._written = dict(self._shown)
        self._controls = {line: Control() for line in indices}
        self._was_connected = False
        self._told_lost = False

    def start(self) -> None:
        """Start the thread; it connects by itself, for as long as it takes."""
        self._running = in_background("plc", self._run)

    def feed(self) -> None:
        """Say that the service is alive; to be called from its work loop.

        Raises:
            Exception: whatever ended the thread, which ends by itself only through a bug.
        """
        self._fed_s = time.monotonic()
        if self._running is not None and self._running.done():
            self._running.result()

    def show(self, line: str, telegram: Telegram) -> None:
        """Replace what the line shows; of several changes in a row the PLC may see the last one only."""
        with self._changed:
            if telegram == self._shown[line]:
                return
            self._shown[line] = telegram
            self._stale_lines[line] = None
            self._changed.notify()

    def tell(self, line: str, telegram: Telegram) -> None:
        """Like `show` for a verdict: each is written, in order, in a request of its own."""
        with self._changed:
            self._shown[line] = telegram
            if not self._online:
                self._counters["coalesced"] += 1
                return
            if len(self._waiting) == _MOST_WAITING:
                self._waiting.popleft()
                self._counters["coalesced"] += 1
            self._waiting.append((line, telegram))
            self._changed.notify()

    def resume(self) -> None:
        """The answer to `Connected`: what the lines show is right for a PLC that was away."""
        with self._changed:
            self._resumed = True
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

    def _run(self) -> None:
        retry_s = _FIRST_RETRY_S
        while not self._stopping:
            try:
                with Link(self._settings) as link:
                    self._connect(link)
                    retry_s = _FIRST_RETRY_S
                    self._serve(link)
            except LinkError as error:
                self._disconnect(str(error))
                self._wait_for_stop(retry_s)
                retry_s = min(2 * retry_s, _LONGEST_RETRY_S)

    def _connect(self, link: Link) -> None:
        """A request left in the control block from before is no edge; the first word is the safe state."""
        for line in self._indices:
            self._controls[line] = dataclasses.replace(
                self._read_control(link, line), pause=self._controls[line].pause
            )
            self._write(link, line, self._shown[line])
        again, self._was_connected = self._was_connected, True
        with self._changed:
            self._online = True
            self._counters["reconnects"] += again
        self._told_lost = False
        self._log.info("plc_connected", host=self._settings.host, port=self._settings.port, again=again)
        self._events.put(Connected(again))

    def _disconnect(self, detail: str) -> None:
        with self._changed:
            self._online = self._resumed = False
            self._counters["coalesced"] += len(self._waiting)
            self._waiting.clear()
        if not self._told_lost:
            self._told_lost = True
            self._log.warning("plc_lost", detail=detail)
            self._events.put(Disconnected(detail))

    def _serve(self, link: Link) -> None:
        period_s = self._settings.heartbeat_ms / 1000
        beat_due_s = time.monotonic()
        # One changed line and one beat a turn: those of many lines take longer than a verdict may wait.
        to_beat: deque[str] = deque()
        while not self._stopping:
            for line, telegram in self._take_verdicts(0.0 if to_beat else beat_due_s):
                self._write(link, line, telegram)
                with self._changed:
                    self._counters["written"] += 1
            self._write_change(link)
            # Beats of many lines would hold up what a loss has to tell.
            if self._owes_safe_state():
                continue
            if not to_beat and (now := time.monotonic()) >= beat_due_s:
                self._advance_heartbeat()
                to_beat.extend(self._indices)
                # A late beat is not made up for by a burst of them.
                beat_due_s = max(beat_due_s + period_s, now)
            if to_beat:
                self._beat(link, to_beat.popleft())
        for line, telegram in self._shown.items():
            self._write_image(link, line, safe_state(telegram.image, FaultCode.RESULTS_LOST))

    def _take_verdicts(self, until_s: float) -> list[tuple[str, Telegram]]:
        """Wait for something to write, no longer than until the next beat is due."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._stale_lines or self._stopping,
                timeout=max(until_s - time.monotonic(), 0),
            )
            taken = list(self._waiting)
            self._waiting.clear()
            # What follows the last verdict is written after it, or not at all if it is that verdict.
            for line, telegram in taken:
                if telegram is self._shown[line]:
                    self._stale_lines.pop(line, None)
        return taken

    def _write_change(self, link: Link) -> None:
        """Write one stale line, if there is one: a line that becomes safe first, then the longest stale."""
        with self._changed:
            # A verdict that came just now has its own turn; it must not be overtaken.
            stale = [line for line in self._stale_lines if not self._has_waiting(line)]
            if not stale:
                return
            line = next(filter(self._becomes_safe, stale), stale[0])
            del self._stale_lines[line]
            telegram = self._shown[line]
        self._write(link, line, telegram)

    def _owes_safe_state(self) -> bool:
        with self._changed:
            return any(map(self._becomes_safe, self._stale_lines))

    def _becomes_safe(self, line: str) -> bool:
        """Only what was not safe: a line that changes within the safe state must not hold up the beats."""
        return is_safe(self._shown[line].image) and not is_safe(self._written[line].image)

    def _has_waiting(self, line: str) -> bool:
        return any(waiting == line for waiting, _ in self._waiting)

    def _advance_heartbeat(self) -> None:
        if not self._service_hangs():
            self._heartbeat = (self._heartbeat + 1) % 2**16

    def _beat(self, link: Link, line: str) -> None:
        """Write a line with the heartbeat of now, and read what the PLC asks of it."""
        with self._changed:
            telegram = self._shown[line]
            has_waiting = self._has_waiting(line)  # as in `_write_change`
        self._write(link, line, self._written[line] if has_waiting else telegram)
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

    def _read_control(self, link: Link, line: str) -> Control:
        address = control_address(self._settings.base, self._indices[line])
        return decode_control(link.read(address, CONTROL_LENGTH))

    def _write(self, link: Link, line: str, telegram: Telegram) -> None:
        """Show a telegram, or the safe state while nobody stands behind what the line says."""
        image = telegram.image
        if not self._resumed or self._service_hangs():
            image = safe_state(image, FaultCode.RESULTS_LOST)
        self._write_image(link, line, image)
        self._written[line] = telegram

    def _write_image(self, link: Link, line: str, image: LineImage) -> None:
        address = image_address(self._settings.base, self._indices[line])
        link.write(address, encode_image(dataclasses.replace(image, heartbeat=self._heartbeat)))

    def _service_hangs(self) -> bool:
        return time.monotonic() - self._fed_s > HANG_S

    def _wait_for_stop(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, timeout=seconds)
