"""Into the record first, then into the lines: nothing is told to anybody that is not on disk.

While the record cannot be written or read, verdicts wait here (up to a bound), every line is in
FAULT(record_failed), and it is tried again and again; also where the service has to start so.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog

from alfa.errors import Fault
from edge.backoff import BackOff
from edge.clocks import this_boot
from edge.messages import EarlierStart, FaultCode, FaultReason, Result, Verdict, missing_verdict
from edge.rate_limited_log import RateLimitedLog
from edge.results.alarm import AlarmEvent, AlarmKind, FaultAlarm, NgAlarm, OpenAlarms
from edge.results.ledger import Belief, Standing
from edge.results.line import Line
from edge.results.pending_alarms import PendingAlarms
from edge.results.record import Record
from edge.results.retention import Retention

_PARTS_A_TRANSACTION = 1000
_MOST_WAITING = 20_000
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 4.0
# A count of captured parts is written with the verdicts of these parts, which mostly come sooner than this:
# every transaction waits for the disk, and holds up the verdicts that come meanwhile.
_COUNTS_WAIT_S = 0.25


@dataclass(frozen=True, slots=True)
class Entry:
    """A verdict on its way into the record; `replayed`: it came on request."""

    verdict: Verdict
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Account:
    """What the record holds of an epoch: the seqs that are settled, and how many parts were captured."""

    epoch: int
    recorded: list[range]
    captured: int


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """What one transaction writes: verdicts, the alarms that they raise, and counts that have grown."""

    entries: list[Entry]
    alarms: PendingAlarms
    captured: dict[tuple[str, int], int]


class Bookkeeper:
    """Keeps the record and the lines' accounts in step.

    Args:
        record: written by this alone.
        retention: of the same record.
        lines: by name.
        log: where faults go.
        warnings: where goes what a message brings: late, too much, or not to be believed.

    Attributes:
        trouble: why the record cannot be written or read at present, or empty.
    """

    def __init__(
        self,
        record: Record,
        retention: Retention,
        lines: Mapping[str, Line],
        log: structlog.stdlib.BoundLogger,
        warnings: RateLimitedLog,
    ) -> None:
        self._record = record
        self._retention = retention
        self._lines = lines
        self._log = log
        self._warnings = warnings
        self.trouble = ""
        self._restored = False
        self._waiting: dict[tuple[str, int, int], Entry] = {}
        self._postponed: list[Entry] = []  # of epochs that the record could not be asked about
        self._events: list[AlarmEvent] = []
        self._captured: dict[tuple[str, int], int] = {}
        self._counts_written_s = 0.0
        self._back_off = BackOff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
        self._retry_at_s = float("-inf")

    def restore(self, now_s: float) -> None:
        """Take over what an earlier run has recorded: accounts, open alarms, the last parts.

        Where the record cannot be read, `write` does it later.
        """
        try:
            found = [
                (line, self._recorded_alarms(line), self._recorded_epochs(line))
                for line in self._lines.values()
            ]
        except Fault as error:
            self._fail(error, now_s)
            return
        for line, alarms, epochs in found:
            line.restore(*alarms)
            for account in epochs:
                self._open(line, account, now_s)
        self._restored = True

    def captured(self, line: Line, epoch: int, count: int, now_s: float) -> None:
        """The line's camera says how many parts it has captured since its start."""
        # The next beat says it again.
        if self._is_open(line, epoch, now_s):
            self._heed(line, epoch, count, line.ledger.captured(epoch, count, now_s))

    def captured_earlier(self, line: Line, starts: Sequence[EarlierStart], now_s: float) -> None:
        """The line's camera tells what its earlier starts had captured, the last one first.

        Those before the first that is known here are none of this record: it was begun anew after them. One
        that came later is, even if it was never heard of.
        """
        known = [place for place, start in enumerate(starts) if line.ledger.knows(start.epoch)]
        for start in starts[: max(known, default=-1) + 1]:
            if self._is_open(line, start.epoch, now_s):
                belief = line.ledger.captured(start.epoch, start.captured, now_s)
                if belief.doubted:
                    self._doubt(
                        line, f"count {start.captured} of earlier epoch {start.epoch} is too far ahead"
                    )
                self._tell_untold(line, start.epoch, belief)

    def take(self, entry: Entry, now_s: float) -> None:
        """A verdict came; one for a part that has its verdict is counted and goes no further."""
        verdict = entry.verdict
        line = self._lines[verdict.line]
        if not self._is_open(line, verdict.epoch, now_s):
            self._keep(entry, line)
            return
        standing = line.ledger.standing((verdict.epoch, verdict.seq))
        if standing is Standing.IMPLAUSIBLE:
            self._doubt(line, f"seq {verdict.seq} of epoch {verdict.epoch} is too far ahead")
        elif standing is Standing.LATE:
            # Each replay brings it again; one part is late once.
            if not entry.replayed:
                line.heart.counters["late"] += 1
                self._warnings.warning("late", f"seq {verdict.seq}: {verdict.result}", line=line.name)
        elif standing is Standing.DUPLICATE or verdict.key in self._waiting:
            # What is replayed was mostly heard before; that is no disorder.
            line.heart.counters["duplicate"] += not entry.replayed
        else:
            self._keep(entry, line)

    def take_overdue(self, now_s: float) -> None:
        """Every part whose time is up becomes FAULT(no_verdict)."""
        if self.trouble:
            return
        for line in self._lines.values():
            for epoch, seq in line.ledger.overdue(now_s, _PARTS_A_TRANSACTION):
                verdict = _no_verdict(line.name, epoch, seq)
                self._waiting.setdefault(verdict.key, Entry(verdict))

    def raise_fault(self, line: Line, code: FaultCode, detail: str) -> None:
        """Something is lost on the line: the alarm is on at once and recorded with the next transaction."""
        self._log.error("fault", line=line.name, code=code.name.lower(), detail=detail)
        line.fault = line.fault.after_fault(code)
        line.heart.counters["fault_alarms"] += 1
        self._events.append(AlarmEvent(line.name, AlarmKind.FAULT, code, time.time_ns(), detail=detail))

    def write(self, now_s: float, last: bool = False) -> list[Entry]:
        """Commit what waits, then bring the lines up to date; gives the newly recorded verdicts, in order.

        Args:
            now_s: seconds on a monotonic clock, as everywhere here.
            last: the service ends, so that counts of captured parts must not wait for verdicts.
        """
        if not self._may_write(now_s):
            return []
        self._take_postponed(now_s)
        batch = self._next_batch()
        if not self._is_due(batch, now_s, last) or not self._commit(batch, now_s):
            return []
        self._put_in_force(batch, now_s)
        return batch.entries

    def delete_old(self, now_s: float) -> None:
        """Let a little of what is too old leave the record, where it is time for that."""
        if self.trouble:
            return
        try:
            deleted = self._retention.step(now_s, time.time_ns())
        except Fault as error:
            self._fail(error, now_s)
        else:
            if deleted:
                self._log.info("old_rows_deleted", rows=deleted)

    def acknowledge(self, line: Line, ng: NgAlarm, fault: FaultAlarm) -> None:
        """Put acknowledged alarms in place of the line's, once that is recorded.

        Args:
            line: whose alarms they are.
            ng: after the acknowledge or reset.
            fault: likewise.
        """
        ng_events = ng.latch.acknowledged - line.ng.latch.acknowledged
        fault_events = fault.latch.acknowledged - line.fault.latch.acknowledged
        if not self._restored:
            self._log.error("acknowledge_not_recorded", line=line.name, detail=self.trouble)
            return
        try:
            # What was raised but is not recorded yet must be, or other events would be acknowledged for it.
            self._record.append(alarms=self._events)
            self._events.clear()
            # Together: half of it would count again, for younger events, when the PLC acknowledges anew.
            self._record.acknowledge(line.name, {AlarmKind.NG: ng_events, AlarmKind.FAULT: fault_events})
        except Fault as error:
            self._log.error("acknowledge_not_recorded", line=line.name, detail=error.detail)
            return
        line.ng, line.fault = ng, fault
        line.heart.counters["acknowledged"] += ng_events + fault_events
        self._log.info("acknowledged", line=line.name, ng=ng_events, fault=fault_events)

    def _may_write(self, now_s: float) -> bool:
        """Whether it is time to try, and what an earlier run has recorded is known."""
        if now_s < self._retry_at_s:
            return False
        if not self._restored:
            self.restore(now_s)
        return self._restored

    def _next_batch(self) -> _Batch:
        entries = list(islice(self._waiting.values(), _PARTS_A_TRANSACTION))
        alarms = PendingAlarms(self._lines)
        for entry in entries:
            alarms.take(entry.verdict)
        return _Batch(entries, alarms, self._new_captured(entries))

    def _is_due(self, batch: _Batch, now_s: float, last: bool) -> bool:
        """A record that failed is tried with nothing, too: its recovery must be told."""
        counts_are_due = bool(batch.captured) and (last or now_s - self._counts_written_s > _COUNTS_WAIT_S)
        return bool(batch.entries or self._events or counts_are_due or self.trouble)

    def _commit(self, batch: _Batch, now_s: float) -> bool:
        """Write it, all or nothing; False where the record fails."""
        verdicts = [entry.verdict for entry in batch.entries]
        try:
            self._record.append(verdicts, self._events + batch.alarms.events, batch.captured, self._settled())
        except Fault as error:
            self._fail(error, now_s)
            return False
        return True

    def _put_in_force(self, batch: _Batch, now_s: float) -> None:
        """Now that it is on disk, the lines are brought up to date."""
        self._events.clear()
        self._captured.update(batch.captured)
        self._counts_written_s = now_s
        batch.alarms.apply()
        for entry in batch.entries:
            self._settle(entry.verdict, now_s)
        if self.trouble:
            self._recover()

    def _recorded_alarms(self, line: Line) -> tuple[OpenAlarms, OpenAlarms, list[Result]]:
        return (
            self._record.open_alarms(line.name, AlarmKind.NG),
            self._record.open_alarms(line.name, AlarmKind.FAULT),
            self._record.last_results(line.name, line.ng.n),
        )

    def _recorded_epochs(self, line: Line) -> list[_Account]:
        return [self._recorded_epoch(line, epoch) for epoch in self._record.epochs(line.name)]

    def _recorded_epoch(self, line: Line, epoch: int) -> _Account:
        recorded = self._record.recorded(line.name, epoch)
        return _Account(epoch, recorded, self._record.captured(line.name, epoch))

    def _is_open(self, line: Line, epoch: int, now_s: float) -> bool:
        """Whether the epoch is accounted for; one that is not is opened with what the record holds of it."""
        if line.ledger.knows(epoch):
            return True
        if now_s < self._retry_at_s:
            return False
        try:
            account = self._recorded_epoch(line, epoch)
        except Fault as error:
            self._fail(error, now_s)
            return False
        self._open(line, account, now_s)
        return True

    def _open(self, line: Line, account: _Account, now_s: float) -> None:
        belief = line.ledger.open(account.epoch, account.recorded, account.captured, now_s)
        if belief.doubted:
            self._heed(line, account.epoch, account.captured, belief)

    def _heed(self, line: Line, epoch: int, count: int, belief: Belief) -> None:
        """A count not believed is a loss while that lasts; one that proved true may leave parts behind."""
        if belief.doubted:
            detail = f"count {count} of epoch {epoch} is too far ahead"
            self._doubt(line, detail)
            if not line.count_doubted:
                self.raise_fault(line, FaultCode.COUNT_DOUBTED, detail)
        line.count_doubted = belief.doubted
        self._tell_untold(line, epoch, belief)

    def _tell_untold(self, line: Line, epoch: int, belief: Belief) -> None:
        if untold := belief.untold:
            detail = f"parts {untold.start} to {untold.stop - 1} of epoch {epoch} were not heard of"
            self.raise_fault(line, FaultCode.NO_VERDICT, detail)

    def _doubt(self, line: Line, detail: str) -> None:
        line.heart.counters["implausible"] += 1
        self._warnings.warning("implausible", detail, line=line.name)

    def _keep(self, entry: Entry, line: Line) -> None:
        """Let a verdict wait for the record, within the bound.

        Beyond it the part becomes overdue, and FAULT(no_verdict) when the record works again.
        """
        verdict = entry.verdict
        if len(self._waiting) + len(self._postponed) >= _MOST_WAITING:
            line.heart.counters["not_kept"] += 1
            self._warnings.warning("not_kept", f"seq {verdict.seq}: {verdict.result}", line=line.name)
        elif line.ledger.knows(verdict.epoch):
            self._waiting[verdict.key] = entry
        else:
            self._postponed.append(entry)

    def _take_postponed(self, now_s: float) -> None:
        postponed, self._postponed = self._postponed, []
        for entry in postponed:
            self.take(entry, now_s)

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

    def _settle(self, verdict: Verdict, now_s: float) -> None:
        del self._waiting[verdict.key]
        line = self._lines[verdict.line]
        key = (verdict.epoch, verdict.seq)
        if verdict.fault is FaultReason.NO_VERDICT and not verdict.judged_by:
            line.ledger.give_up(key, now_s)
            line.heart.counters["no_verdict"] += 1
            # Each is a row of the record; a camera that was killed may owe thousands at once.
            detail = f"epoch {verdict.epoch} seq {verdict.seq}"
            self._warnings.warning("no_verdict", detail, line=line.name)
        else:
            line.ledger.settle(key, now_s)
        line.heart.counters["recorded"] += 1
        line.heart.counters[verdict.result.lower()] += 1
        line.heart.last_seq = verdict.seq

    def _fail(self, error: Fault, now_s: float) -> None:
        self._retry_at_s = now_s + self._back_off.pause_s()
        was_well, self.trouble = not self.trouble, error.detail
        if not was_well:
            return
        for line in self._lines.values():
            line.record_failed = True
            self.raise_fault(line, FaultCode.RECORD_FAILED, error.detail)

    def _recover(self) -> None:
        self.trouble = ""
        self._back_off.reset()
        for line in self._lines.values():
            line.record_failed = False
        self._log.info("record_recovered")


def _no_verdict(line: str, epoch: int, seq: int) -> Verdict:
    detail = "captured, but no verdict came in time"
    blank = missing_verdict(line, epoch, seq, FaultReason.NO_VERDICT, detail)
    return dataclasses.replace(
        blank, published_wall_ns=time.time_ns(), published_mono_ns=time.monotonic_ns(), boot=this_boot()
    )
