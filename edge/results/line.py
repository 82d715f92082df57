"""One line as the results service knows it, and what of that the PLC is to show. Pure but for its heart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from edge.clocks import NS_PER_MS
from edge.heart import Heart
from edge.messages import FaultCode, Result, ServiceState, Verdict
from edge.plc.driver import Telegram
from edge.plc.registers import (
    LineImage,
    part_number,
    result_code,
    safe_state,
    scaled_score,
    word,
)
from edge.results.alarm import FaultAlarm, Latch, NgAlarm, OpenAlarms
from edge.results.ledger import Ledger
from edge.results.upstream import Upstream
from edge.settings import LineSettings, ResultsSettings

_DOUBLE_WORD = 1 << 32
_WORD = 1 << 16
_COUNTERS = (
    "recorded",
    "ok",
    "ng",
    "fault",
    "no_verdict",
    "duplicate",
    "late",
    "not_shown",
    "undecodable",
    "implausible",
    "not_kept",
    "ng_alarms",
    "fault_alarms",
    "acknowledged",
    "ng_open",
    "fault_open",
)


class Line:
    """Accounting, supervision and alarms of one line.

    Args:
        name: the line.
        settings: of the line.
        results: deadlines.
        epoch: of this start of the service, for its beats.
    """

    def __init__(self, name: str, settings: LineSettings, results: ResultsSettings, epoch: int) -> None:
        self.name = name
        answers_all = not (settings.free_running and settings.overload == "latest")
        self.ledger = Ledger(results.no_verdict_after_ms / 1000, answers_all)
        self.camera = Upstream(results.lost_after_ms / 1000)
        self.detector = Upstream(results.lost_after_ms / 1000)
        self.ng = NgAlarm(settings.alarm.k, settings.alarm.n)
        self.fault = FaultAlarm()
        self.paused = False
        self.record_failed = False
        self.count_doubted = False
        self.plc_stopped = False
        self.heart = Heart("results", name, epoch)
        # All from the start: a counter that appears only with its first fault cannot be watched.
        self.heart.counters.update(dict.fromkeys(_COUNTERS, 0))
        # A part without verdict is given up after this time, so an older verdict is of a part long gone.
        self._fresh_ns = results.no_verdict_after_ms * NS_PER_MS
        self._shown: Verdict | None = None
        self._shown_fields: dict[str, Any] = {}  # of the image, made once a verdict: images are made often
        self._toggle = 0

    def restore(self, ng: OpenAlarms, fault: OpenAlarms, last: Sequence[Result]) -> None:
        """Go on where an earlier run ended: what nobody acknowledged is still on.

        A fault that was raised before the record could be read stays, and is the last one.
        """
        for result in last:
            self.ng, _ = self.ng.after_part(result)
        self.ng = dataclasses.replace(self.ng, latch=Latch(ng.count))
        self.fault = FaultAlarm(self.fault.latch.after_event(fault.count), self.fault.last or fault.last)

    def is_worth_showing(self, verdict: Verdict, replayed: bool, now_ns: int) -> bool:
        """False for what the PLC would take for news and is none: parts long gone, or all while paused.

        A part may be long gone without a replay too: its verdict waited for a record that failed.

        Args:
            verdict: recorded just now; dated on this machine's clock (`edge.clocks.dated_here`).
            replayed: it came on request and may be old.
            now_ns: on the monotonic clock: a step of UTC neither hides a verdict nor brings an old one back.
        """
        published_ns = verdict.published_mono_ns
        if self.paused or not published_ns or now_ns - published_ns > self._fresh_ns:
            return False
        shown_ns = 0 if self._shown is None else self._shown.published_mono_ns
        return not replayed or published_ns >= shown_ns

    def show(self, verdict: Verdict) -> None:
        """The verdict that the PLC sees from now on."""
        self._shown = verdict
        self._shown_fields = _fields_of_verdict(verdict)
        self._toggle ^= 1

    def show_nothing(self) -> None:
        """Withdraw the shown verdict: the PLC was away, paused the line, or starts over."""
        self._shown = None
        self._shown_fields = {}

    def withdraw_ok_on_loss(self) -> None:
        """An OK that the safe state takes back must not return by itself when the loss is over."""
        if self.loss() and self._shown is not None and self._shown.result is Result.OK:
            self.show_nothing()

    def loss(self) -> FaultCode:
        """What is lost at this moment, the worst first."""
        if self.record_failed:
            return FaultCode.RECORD_FAILED
        if not self.detector.alive:
            return FaultCode.DETECTOR_LOST
        if not self.camera.alive:
            return FaultCode.CAMERA_LOST
        if self.count_doubted:
            return FaultCode.COUNT_DOUBTED
        if self.plc_stopped:
            return FaultCode.PLC_STOPPED
        return FaultCode.NONE

    def state(self, plc_trouble: str) -> tuple[ServiceState, str]:
        """What the service's beat says of this line.

        Args:
            plc_trouble: why there is no link to the PLC, or empty.
        """
        if not ((self.camera.heard_of and self.detector.heard_of) or self.record_failed):
            return ServiceState.STARTING, plc_trouble
        if loss := self.loss():
            return ServiceState.FAULT, loss.name.lower()
        if plc_trouble:
            return ServiceState.FAULT, f"plc_lost: {plc_trouble}"
        return (ServiceState.PAUSED if self.paused else ServiceState.READY), ""

    def count_open_alarms(self) -> None:
        """Bring the beat's gauges up to date."""
        self.heart.counters["ng_open"] = self.ng.latch.open
        self.heart.counters["fault_open"] = self.fault.latch.open

    def telegram(self) -> Telegram:
        """What the PLC is to show now."""
        loss = self.loss()
        image = LineImage(
            **self._shown_fields,
            toggle=self._toggle,
            ready=self.camera.ready and self.detector.ready and not self.paused,
            busy=self.ledger.owed > 0,
            ng_alarm=self.ng.latch.on,
            fault=self.fault.latch.on,
            fault_code=loss or self.fault.code,
            camera_alive=self.camera.alive,
            detector_alive=self.detector.alive,
            paused=self.paused,
            alarm_count=self.ng.count % _WORD,
        )
        if loss:
            image = safe_state(image, loss)
        return Telegram(image, self.ng.latch.raised, self.fault.latch.raised)


def _fields_of_verdict(verdict: Verdict) -> dict[str, Any]:
    """The part of a line's image that shows a verdict."""
    return {
        "result_valid": True,
        "result_ok": verdict.result is Result.OK,
        "seq": verdict.seq % _DOUBLE_WORD,
        "part_id": part_number(verdict.part_id),
        "result_code": result_code(verdict.result),
        "score": scaled_score(verdict.score),
        "threshold": scaled_score(verdict.threshold),
        "recipe": verdict.recipe,
        "judged_ms": word(verdict.timings.total),
    }
