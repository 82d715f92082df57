"""Into the record first, then into the lines: nothing is told to anybody that is not on disk.

While the record cannot be written, verdicts wait here (up to a bound), every line is in FAULT(record_failed),
and writing is tried again and again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from alfa.errors import Fault
from edge.messages import FaultCode, FaultReason, Result, Verdict, fault_code, missing_verdict
from edge.results.alarm import FaultAlarm, NgAlarm
from edge.results.ledger import Standing
from edge.results.line import Line
from edge.results.record import AlarmEvent, AlarmKind, Record

_PARTS_A_TRANSACTION = 1000
_MOST_WAITING = 20_000
_RETRY_S = 0.5
# A count of captured parts is written with the verdicts of these parts, which mostly come sooner than this:
# every transaction waits for the disk, and holds up the verdicts that come meanwhile.
_COUNTS_WAIT_S = 0.25


@dataclass(frozen=True, slots=True)
class Entry:
    """A verdict on its way into the record; `replayed`: it came on request."""

    verdict: Verdict
    replayed: bool = False


class Bookkeeper:
    """Keeps the record and the lines' accounts in step.

    Args:
        record: written by this alone.
        lines: by name.
        log: where faults, late and double verdicts go.
    """

    def __init__(self, record: Record, lines: Mapping[str, Line], log: structlog.stdlib.BoundLogger) -> None:
        self._record = record
        self._lines = lines
        self._log = log
        self._waiting: dict[tuple[str, int, int], Entry] = {}
        self._events: list[AlarmEvent] = []
        self._captured: dict[tuple[str, int], int] = {}
        self._counts_written_s = 0.0
        self._failed = False
        self._retry_at_s = 0.0

    def restore(self, now: float) -> None:
        """Take over what an earlier run has recorded: accounts, open alarms, the last parts."""
        for name, line in self._lines.items():
            line.restore(
                self._record.open_alarms(name, AlarmKind.NG),
                self._record.open_alarms(name, AlarmKind.FAULT),
                self._record.last_results(name, line.ng.n),
            )
            for epoch in self._record.epochs(name):
                self._open_epoch(line, epoch, now)

    def captured(self, line: Line, epoch: int, count: int, now: float) -> None:
        """The line's camera says how many parts it has captured since its start."""
        self._open_epoch(line, epoch, now)
        line.ledger.captured(epoch, count, now)

    def take(self, entry: Entry, now: float) -> None:
        """A verdict came; one for a part that has its verdict is counted and goes no further."""
        verdict = entry.verdict
        line = self._lines[verdict.line]
        self._open_epoch(line, verdict.epoch, now)
        standing = line.ledger.standing((verdict.epoch, verdict.seq))
        if standing is Standing.LATE:
            line.heart.counters["late"] += 1
            self._log.warning("late", result=str(verdict.result))
        elif standing is Standing.DUPLICATE or verdict.key in self._waiting:
            # What is replayed was mostly heard before; that is no disorder.
            line.heart.counters["duplicate"] += not entry.replayed
        elif len(self._waiting) < _MOST_WAITING:
            self._waiting[verdict.key] = entry
        # Beyond the bound the part becomes overdue, and FAULT(no_verdict) when the record works again.

    def take_overdue(self, now: float) -> None:
        """Every part whose time is up becomes FAULT(no_verdict)."""
        if self._failed:
            return
        for line in self._lines.values():
            for epoch, seq in line.ledger.overdue(now, _PARTS_A_TRANSACTION):
                verdict = _no_verdict(line.name, epoch, seq)
                self._waiting.setdefault(verdict.key, Entry(verdict))

    def raise_fault(self, line: Line, code: FaultCode, detail: str) -> None:
        """Something is lost on the line: the alarm is on at once and recorded with the next transaction."""
        self._log.error("fault", line=line.name, code=code.name.lower(), detail=detail)
        line.fault = line.fault.after_fault(code)
        line.heart.counters["fault_alarms"] += 1
        self._events.append(AlarmEvent(line.name, AlarmKind.FAULT, code, time.time_ns(), detail=detail))

    def write(self, now: float, last: bool = False) -> list[Entry]:
        """Commit what waits, then bring the lines up to date; gives the newly recorded verdicts, in order.

        Args:
            now: seconds on a monotonic clock, as everywhere here.
            last: the service ends, so that counts of captured parts must not wait for verdicts.
        """
        if self._failed and now < self._retry_at_s:
            return []
        entries = list(islice(self._waiting.values(), _PARTS_A_TRANSACTION))
        alarms = _Alarms(self._lines)
        for entry in entries:
            alarms.take(entry.verdict)
        captured = self._new_captured(entries)
        counts_are_due = bool(captured) and (last or now - self._counts_written_s > _COUNTS_WAIT_S)
        if not (entries or self._events or counts_are_due or self._failed):
            return []
        try:
            self._record.append(
                [entry.verdict for entry in entries], self._events + alarms.events, captured, self._settled()
            )
        except Fault as error:
            self._fail(error, now)
            return []
        self._events.clear()
        self._captured.update(captured)
        self._counts_written_s = now
        alarms.apply()
        for entry in entries:
            self._settle(entry.verdict, now)
        if self._failed:
            self._recover()
        return entries

    def acknowledge(self, line: Line, ng: NgAlarm, fault: FaultAlarm) -> None:
        """Put acknowledged alarms in place of the line's, once that is recorded.

        Args:
            line: whose alarms they are.
            ng: after the acknowledge or reset.
            fault: likewise.
        """
        ng_events = ng.latch.acknowledged - line.ng.latch.acknowledged
        fault_events = fault.latch.acknowledged - line.fault.latch.acknowledged
        try:
            # What was raised but is not recorded yet must be, or other events would be acknowledged for it.
            self._record.append(alarms=self._events)
            self._events.clear()
            self._record.acknowledge(line.name, AlarmKind.NG, ng_events)
            self._record.acknowledge(line.name, AlarmKind.FAULT, fault_events)
        except Fault as error:
            self._log.error("acknowledge_not_recorded", line=line.name, detail=error.detail)
            return
        line.ng, line.fault = ng, fault
        line.heart.counters["acknowledged"] += ng_events + fault_events
        self._log.info("acknowledged", line=line.name, ng=ng_events, fault=fault_events)

    def _open_epoch(self, line: Line, epoch: int, now: float) -> None:
        if line.ledger.knows(epoch):
            return
        recorded = self._record.recorded(line.name, epoch)
        captured = self._record.captured(line.name, epoch)
        line.ledger.open(epoch, recorded, captured, now)

    def _new_captured(self, entries: Sequence[Entry]) -> dict[tuple[str, int], int]:
        """Counts that the record does not hold, as they are when `entries` are recorded."""
        counts = {
            (name, epoch): count
            for name, line in self._lines.items()
            for epoch, count in line.ledger.captured_counts().items()
        }
        for entry in entries:
            epoch = entry.verdict.line, entry.verdict.epoch
            counts[epoch] = max(counts.get(epoch, 0), entry.verdict.seq + 1)
        return {epoch: count for epoch, count in counts.items() if self._captured.get(epoch, 0) < count}

    def _settled(self) -> dict[tuple[str, int], int]:
        return {
            (name, epoch): below
            for name, line in self._lines.items()
            for epoch, below in line.ledger.settled_below().items()
        }

    def _settle(self, verdict: Verdict, now: float) -> None:
        del self._waiting[verdict.key]
        line = self._lines[verdict.line]
        key = (verdict.epoch, verdict.seq)
        if verdict.fault is FaultReason.NO_VERDICT and not verdict.judged_by:
            line.ledger.give_up(key, now)
            line.heart.counters["no_verdict"] += 1
            self._log.error("no_verdict", line=line.name, epoch=verdict.epoch, seq=verdict.seq)
        else:
            line.ledger.settle(key, now)
        line.heart.counters["recorded"] += 1
        line.heart.counters[verdict.result.lower()] += 1
        line.heart.last_seq = verdict.seq

    def _fail(self, error: Fault, now: float) -> None:
        self._retry_at_s = now + _RETRY_S
        if self._failed:
            return
        self._failed = True
        for line in self._lines.values():
            line.record_failed = True
            self.raise_fault(line, FaultCode.RECORD_FAILED, error.detail)

    def _recover(self) -> None:
        self._failed = False
        for line in self._lines.values():
            line.record_failed = False
        self._log.info("record_recovered")


class _Alarms:
    """What the alarms become if some verdicts are recorded; nothing is changed before `apply`."""

    def __init__(self, lines: Mapping[str, Line]) -> None:
        self._lines = lines
        self._ng = {name: line.ng for name, line in lines.items()}
        self._fault = {name: line.fault for name, line in lines.items()}
        self.events: list[AlarmEvent] = []

    def take(self, verdict: Verdict) -> None:
        """One more part."""
        name = verdict.line
        self._ng[name], raises = self._ng[name].after_part(verdict.result)
        if raises:
            self._add(verdict, AlarmKind.NG)
        if verdict.result is Result.FAULT:
            self._fault[name] = self._fault[name].after_fault(fault_code(verdict.fault))
            self._add(verdict, AlarmKind.FAULT)

    def apply(self) -> None:
        """The verdicts are recorded."""
        for name, line in self._lines.items():
            line.ng, line.fault = self._ng[name], self._fault[name]
        for event in self.events:
            self._lines[event.line].heart.counters[f"{event.kind.lower()}_alarms"] += 1

    def _add(self, verdict: Verdict, kind: AlarmKind) -> None:
        self.events.append(
            AlarmEvent(
                line=verdict.line,
                kind=kind,
                code=fault_code(verdict.fault),
                raised_wall_ns=time.time_ns(),
                epoch=verdict.epoch,
                seq=verdict.seq,
                detail=verdict.detail,
            )
        )


def _no_verdict(line: str, epoch: int, seq: int) -> Verdict:
    detail = "captured, but no verdict came in time"
    blank = missing_verdict(line, epoch, seq, FaultReason.NO_VERDICT, detail)
    return dataclasses.replace(blank, published_wall_ns=time.time_ns())
