"""Any sequence of beats, verdicts, kills and acknowledges, against a dictionary of parts and lists of alarms.

The books are real (ledger, alarms, record on disk); only time is told by the test.
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.messages import FaultReason, Result, Verdict
from edge.rate_limited_log import RateLimitedLog
from edge.results.alarm import AlarmKind
from edge.results.bookkeeper import Bookkeeper, Entry
from edge.results.line import Line
from edge.results.record import Record
from edge.results.retention import Retention
from edge.settings import AlarmSettings, LineSettings, ResultsSettings, SyntheticSource

Key: TypeAlias = tuple[int, int]

K, N = 2, 3
PATIENCE_S = 15.0
LINE = LineSettings(
    source=SyntheticSource(kind="synthetic"), prompts="generic", alarm=AlarmSettings(k=K, n=N)
)
NO_VERDICT = "no_verdict"


def verdict_of(key: Key, result: Result) -> Verdict:
    is_fault = result is Result.FAULT
    blank = Verdict(
        "line1", *key, "", result, FaultReason.STALE if is_fault else FaultReason.NONE, judged_by="d"
    )
    return blank if is_fault else dataclasses.replace(blank, score=0.25, threshold=0.5)


class BooksMachine(RuleBasedStateMachine):
    """`recorded` has what each part ended in, `waiting` what came for it and is not written yet."""

    @initialize()
    def start(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="books-"))
        self.now = 0.0
        self.epoch = 0
        self.captured: dict[int, int] = {}
        self.waiting: dict[Key, str] = {}
        self.recorded: dict[Key, str] = {}
        self.open_ng: list[Key] = []
        self.open_faults: list[Key] = []
        self.open_books()

    def open_books(self) -> None:
        log = structlog.stdlib.get_logger()
        self.record = Record.open(self.directory / "results.sqlite")
        self.line = Line("line1", LINE, ResultsSettings(), epoch=1)
        self.books = Bookkeeper(
            self.record, Retention(self.record, 365), {"line1": self.line}, log, RateLimitedLog(log)
        )
        self.books.restore(self.now)
        self.shown_ng = self.shown_faults = 0

    @rule(seconds=st.sampled_from([0.5, 8.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(more=st.integers(0, 2))
    def camera_beats(self, more: int) -> None:
        self.captured[self.epoch] = self.captured.get(self.epoch, 0) + more
        self.books.captured(self.line, self.epoch, self.captured[self.epoch], self.now)

    @rule()
    def camera_restarts(self) -> None:
        self.epoch += 1

    @rule(
        back=st.integers(0, 1),
        judged=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(Result)), min_size=1, max_size=4),
        replayed=st.booleans(),
    )
    def verdicts_come(self, back: int, judged: list[tuple[int, Result]], replayed: bool) -> None:
        """New, repeated, out of order, or of the camera's start before."""
        for seq, result in judged:
            self.verdict_comes((max(self.epoch - back, 0), seq), result, replayed)

    @precondition(lambda self: NO_VERDICT in self.recorded.values())
    @rule(result=st.sampled_from(Result))
    def late_verdicts_come(self, result: Result) -> None:
        """Of every part that was given up."""
        for key in [key for key, ended in self.recorded.items() if ended == NO_VERDICT]:
            self.verdict_comes(key, result, replayed=False)

    def verdict_comes(self, key: Key, result: Result, replayed: bool) -> None:
        self.books.take(Entry(verdict_of(key, result), replayed), self.now)
        if key not in self.recorded:
            self.waiting.setdefault(key, str(result))
            self.captured[key[0]] = max(self.captured.get(key[0], 0), key[1] + 1)

    @rule()
    def is_written(self) -> None:
        self.books.take_overdue(self.now)
        self.take_written(self.books.write(self.now))

    def take_written(self, entries: list[Entry]) -> None:
        for verdict in (entry.verdict for entry in entries):
            key = verdict.epoch, verdict.seq
            assert key not in self.recorded
            self.recorded[key] = self.waiting.pop(key, NO_VERDICT)
            assert self.recorded[key] == (verdict.fault if verdict.fault == NO_VERDICT else verdict.result)
            assert key[1] < self.captured[key[0]]
            self.raise_alarms(key)
        assert not self.waiting

    def raise_alarms(self, key: Key) -> None:
        last = list(self.recorded.values())[-N:]
        if last[-1] == Result.NG and last.count(Result.NG) >= K:
            self.open_ng.append(key)
        if last[-1] in (Result.FAULT, NO_VERDICT):
            self.open_faults.append(key)

    @rule()
    def is_shown(self) -> None:
        telegram = self.line.telegram()
        self.shown_ng, self.shown_faults = telegram.ng_events, telegram.fault_events

    @rule()
    def is_acknowledged(self) -> None:
        """What was shown last, which may be long ago; what was raised since stays on."""
        ng, faults = (latch.acknowledged for latch in (self.line.ng.latch, self.line.fault.latch))
        self.books.acknowledge(
            self.line,
            self.line.ng.after_acknowledge(self.shown_ng),
            self.line.fault.after_acknowledge(self.shown_faults),
        )
        del self.open_ng[: max(self.shown_ng - ng, 0)]
        del self.open_faults[: max(self.shown_faults - faults, 0)]

    @rule()
    def service_is_killed(self) -> None:
        """What waited is lost, and of the counts what was not written; nothing else."""
        self.record.close()
        self.waiting.clear()
        self.open_books()
        for epoch, count in self.captured.items():
            kept = self.record.captured("line1", epoch)
            assert (
                max((seq + 1 for number, seq in self.recorded if number == epoch), default=0) <= kept <= count
            )
            self.captured[epoch] = kept

    @rule()
    def service_is_stopped(self) -> None:
        """Nothing is lost."""
        self.take_written(self.books.write(self.now, last=True))
        self.record.close()
        self.open_books()
        assert {epoch: self.record.captured("line1", epoch) for epoch in self.captured} == self.captured

    @invariant()
    def alarms_are_those_of_the_lists(self) -> None:
        for latch, kind, events in (
            (self.line.ng.latch, AlarmKind.NG, self.open_ng),
            (self.line.fault.latch, AlarmKind.FAULT, self.open_faults),
        ):
            assert latch.open == len(events) == self.record.open_alarms("line1", kind).count

    def teardown(self) -> None:
        """When all time is up, every captured part has ended in exactly one verdict, on disk."""
        for epoch in self.captured:
            self.books.captured(self.line, epoch, self.captured[epoch], self.now)
        self.now += 2 * PATIENCE_S
        self.is_written()
        self.record.close()
        with closing(sqlite3.connect(self.directory / "results.sqlite")) as connection:
            rows = connection.execute(
                "SELECT epoch, seq, iif(fault = 'no_verdict', fault, result) FROM verdicts ORDER BY id"
            ).fetchall()
        shutil.rmtree(self.directory)
        assert {(epoch, seq): ended for epoch, seq, ended in rows} == self.recorded
        assert len(rows) == len(self.recorded)
        assert self.recorded.keys() == {
            (epoch, seq) for epoch, count in self.captured.items() for seq in range(count)
        }


TestBooksMachine = BooksMachine.TestCase
TestBooksMachine.settings = settings(TestBooksMachine.settings, max_examples=60, stateful_step_count=40)
