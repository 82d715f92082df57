"""The results service's loop: record, then alarms, then the PLC.

Inbox -> Bookkeeper (ledger, record, alarms) -> Line (what is to be shown) -> PlcDriver
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import structlog

from edge.clocks import dated_here
from edge.heart import Heart, new_epoch
from edge.lifecycle import Lifecycle
from edge.log_lines import about_part
from edge.messages import Beat, FaultCode, Verdict, encode_beat
from edge.plc.driver import PlcDriver
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
from edge.rate_limited_log import RateLimitedLog
from edge.results.bookkeeper import Bookkeeper, Entry
from edge.results.evidence import EvidenceStore, EvidenceWriter
from edge.results.inbox import Delivery, Inbox
from edge.results.line import Line
from edge.results.record import Record, alarm_is_open
from edge.results.retention import Retention
from edge.settings import Settings
from edge.sockets import BEAT_HWM, Sockets, send

_POLL_MS = 50
_S_PER_DAY = 86_400
# A part that is missing for this share of its time is asked for before it is given up.
_ASK_AT = 0.5


class ResultsService:
    """Records the verdicts of all lines, keeps their alarms and tells the PLC, until it is asked to stop.

    Args:
        settings: of the whole box.
        lifecycle: tells of the stop.
        sockets: makes the sockets; used from the thread that calls `run` alone.
        log: where events go.

    Raises:
        Fault: the endpoint is served by another process.
        BadInput: record or evidence cannot be where the settings say.
    """

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        sockets: Sockets,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self._sockets = sockets
        self._log = log
        epoch = new_epoch()
        self._lines = {
            name: Line(name, line, settings.results, epoch) for name, line in settings.lines.items()
        }
        # First: whoever holds the endpoint is the only writer of the record, and changes its schema alone.
        self._beats = sockets.publisher(settings.results_endpoint(), BEAT_HWM)
        evidence = _evidence_store(settings)
        # An older record of some gigabytes takes minutes.
        lifecycle.status(f"opening {settings.database}")
        self._record = Record.open(settings.database, lifecycle.takes_long)
        counters = {name: line.heart.counters for name, line in self._lines.items()}
        self._warnings = RateLimitedLog(log)
        self._inbox = Inbox(sockets, settings, counters, self._warnings)
        retention = Retention(self._record, settings.results.keep_days)
        self._books = Bookkeeper(self._record, retention, self._lines, log, self._warnings)
        self._evidence = EvidenceWriter(evidence, log)
        self._plc = _plc_driver(settings, log)
        self._plc_trouble = "" if self._plc is None else "not connected yet"
        self._asked_s = dict.fromkeys(self._lines, 0.0)

    def run(self) -> None:
        """Serve until stopped; the PLC is left in the safe state however this ends.

        Raises:
            BadInput: there is room on the disk again, and the record proves to be none of this program.
        """
        try:
            self._books.restore(time.monotonic())
            self._show_all()
            if self._plc is not None:
                self._plc.start()
            # Also without a record: a restart makes no room on the disk, and the PLC would see nothing.
            self._lifecycle.ready(self._status())
            self._log.info("ready", lines=list(self._lines), plc=self._plc is not None)
            while not self._lifecycle.stopping:
                self._serve_once(_POLL_MS)
            self._serve_once(0)
        finally:
            if self._plc is not None:
                self._plc.stop()
            self._evidence.stop()
            self._record.close()
        self._log.info(
            "stopped", counters={name: dict(line.heart.counters) for name, line in self._lines.items()}
        )

    @property
    def hearts(self) -> list[Heart]:
        """Of its lines, for whoever watches."""
        return [line.heart for line in self._lines.values()]

    def _serve_once(self, wait_ms: int) -> None:
        delivery = self._inbox.take(wait_ms)
        self._follow_keys()
        now_s = time.monotonic()
        self._take(delivery, now_s)
        self._supervise(now_s)
        self._books.take_overdue(now_s)
        self._show_recorded(self._books.write(now_s, last=self._lifecycle.stopping))
        self._books.delete_old(now_s)
        self._follow_plc()
        for line in self._lines.values():
            line.withdraw_ok_on_loss()
        self._show_all()
        self._beat()
        self._warnings.tell_when_due(now_s)

    def _take(self, delivery: Delivery, now_s: float) -> None:
        for beat in delivery.beats:
            self._hear(beat, now_s)
        # What is replayed is older than what comes live.
        for verdict in delivery.replayed:
            self._take_verdict(verdict, now_s, replayed=True)
        for verdict in delivery.verdicts:
            self._take_verdict(verdict, now_s)
        for picture in delivery.maps:
            self._evidence.put(picture)

    def _take_verdict(self, verdict: Verdict, now_s: float, replayed: bool = False) -> None:
        dated = dated_here(verdict, replayed, time.monotonic_ns())
        with about_part(verdict.line, verdict.epoch, verdict.seq, verdict.part_id):
            self._books.take(Entry(dated, replayed), now_s)

    def _hear(self, beat: Beat, now_s: float) -> None:
        line = self._lines[beat.line]
        if beat.service == "camera":
            line.camera.hear(beat, now_s)
            self._books.captured(line, beat.epoch, max(beat.counters.get("captured", 0), 0), now_s)
            self._books.captured_earlier(line, beat.earlier, now_s)
        elif line.detector.hear(beat, now_s):
            self._ask_replay(line, now_s)

    def _supervise(self, now_s: float) -> None:
        for line in self._lines.values():
            if line.camera.is_lost(now_s):
                self._books.raise_fault(line, FaultCode.CAMERA_LOST, line.camera.trouble)
            if line.detector.is_lost(now_s):
                self._books.raise_fault(line, FaultCode.DETECTOR_LOST, line.detector.trouble)
            patience_s = self._settings.results.no_verdict_after_ms / 1000
            ask_after_s = patience_s * _ASK_AT
            asked_lately = now_s - self._asked_s[line.name] < ask_after_s
            if line.detector.alive and not asked_lately and line.ledger.overdue(now_s + ask_after_s, most=1):
                self._ask_replay(line, now_s)

    def _ask_replay(self, line: Line, now_s: float) -> None:
        self._asked_s[line.name] = now_s
        self._inbox.ask_replay(line.name)

    def _show_recorded(self, entries: Sequence[Entry]) -> None:
        now_ns = time.monotonic_ns()
        for entry in entries:
            line = self._lines[entry.verdict.line]
            if not line.is_worth_showing(entry.verdict, entry.replayed, now_ns):
                line.heart.counters["not_shown"] += 1
                continue
            line.show(entry.verdict)
            if self._plc is not None:
                self._plc.tell(line.name, line.telegram())

    def _show_all(self) -> None:
        if self._plc is None:
            return
        for name, line in self._lines.items():
            self._plc.show(name, line.telegram())

    def _follow_plc(self) -> None:
        if self._plc is None:
            return
        self._plc.feed()
        for event in self._plc.take_events():
            self._follow(event, self._plc)

    def _follow(self, event: Event, plc: PlcDriver) -> None:
        match event:
            case Connected(again):
                self._plc_trouble = ""
                if again:
                    self._raise_on_all_lines(FaultCode.PLC_LOST, "the connection was lost and is back")
                self._resume_plc(plc)
            case Disconnected(detail):
                self._plc_trouble = detail
            case ServiceHung():
                self._raise_on_all_lines(FaultCode.RESULTS_LOST, "the work loop stood still")
                self._resume_plc(plc)
            case EchoLost(name):
                line = self._lines[name]
                line.plc_stopped = True
                self._books.raise_fault(line, FaultCode.PLC_STOPPED, "the heartbeat's echo stands still")
            case EchoBack(name):
                self._lines[name].plc_stopped = False
                self._log.info("plc_runs", line=name)
            case Acknowledged(name, ng_events, fault_events):
                line = self._lines[name]
                self._books.acknowledge(
                    line, line.ng.after_acknowledge(ng_events), line.fault.after_acknowledge(fault_events)
                )
            case ResetAsked(name, ng_events, fault_events):
                line = self._lines[name]
                line.show_nothing()
                self._books.acknowledge(
                    line, line.ng.after_reset(ng_events), line.fault.after_acknowledge(fault_events)
                )
            case PauseAsked(name, paused):
                line = self._lines[name]
                line.paused = paused
                line.show_nothing()
                self._log.info("paused" if paused else "resumed", line=name)

    def _raise_on_all_lines(self, code: FaultCode, detail: str) -> None:
        for line in self._lines.values():
            self._books.raise_fault(line, code, detail)

    def _resume_plc(self, plc: PlcDriver) -> None:
        """Withdraw what a PLC that was kept in the safe state must not take for news, then let it see all."""
        for line in self._lines.values():
            line.show_nothing()
        self._show_all()
        plc.resume()

    def _beat(self) -> None:
        for line in self._lines.values():
            line.heart.state, line.heart.last_error = line.state(self._plc_trouble)
            if line.heart.due():
                line.count_open_alarms()
                send(self._beats, encode_beat(line.heart.beat(self._service_counters())))
                self._lifecycle.alive()
                self._lifecycle.status(self._status())

    def _status(self) -> str:
        if self._books.trouble:
            return f"the record fails: {self._books.trouble}"
        return f"recording {', '.join(self._lines)}"

    def _follow_keys(self) -> None:
        self._sockets.tend()
        if self._lifecycle.take_reload():
            self._sockets.reload_keys()

    def _service_counters(self) -> dict[str, int]:
        """The same for all lines."""
        counters = {**self._evidence.counters, **self._record.counters, **self._sockets.counters()}
        counters["impostors"] = self._inbox.impostors
        if self._plc is not None:
            counters |= {f"plc_{name}": count for name, count in self._plc.counters().items()}
            counters["plc_connected"] = int(not self._plc_trouble)
        return counters


def _evidence_store(settings: Settings) -> EvidenceStore:
    results = settings.results
    return EvidenceStore(
        settings.paths.state / results.evidence,
        results.evidence_max_bytes,
        results.evidence_max_days * _S_PER_DAY,
        partial(alarm_is_open, settings.database),
    )


def _plc_driver(settings: Settings, log: structlog.stdlib.BoundLogger) -> PlcDriver | None:
    if settings.plc is None:
        return None
    return PlcDriver(settings.plc, {name: line.index for name, line in settings.lines.items()}, log)
