"""What leaves the record when it is old, and what stays whatever its age."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import capture_logs

from alfa.errors import Fault
from edge.messages import FaultCode
from edge.rate_limited_log import RateLimitedLog
from edge.results.alarm import AlarmEvent, AlarmKind
from edge.results.bookkeeper import Bookkeeper, Entry
from edge.results.line import Line
from edge.results.record import Record
from edge.results.retention import Retention
from edge.settings import LineSettings, ResultsSettings, SyntheticSource

if TYPE_CHECKING:
    from tests.edge.results.conftest import MakeVerdict

NS_PER_DAY = 86_400 * 10**9
KEEP_DAYS = 30
EPOCH = 7


def sweep(record: Record, days: float) -> int:
    """Rows that go when so many days have passed since now."""
    retention = Retention(record, KEEP_DAYS)
    wall_ns = time.time_ns() + int(days * NS_PER_DAY)
    now_s = 0.0
    while (deleted := retention.step(now_s, wall_ns)) is None:
        now_s += 1.0
    return deleted


def seqs(path: Path) -> list[int]:
    with closing(sqlite3.connect(f"file:{path / 'results.sqlite'}?mode=ro", uri=True)) as connection:
        return [seq for (seq,) in connection.execute("SELECT seq FROM verdicts ORDER BY epoch, seq")]


def alarm(seq: int) -> AlarmEvent:
    return AlarmEvent("line1", AlarmKind.NG, FaultCode.NONE, time.time_ns(), EPOCH, seq)


def line_of_the_record() -> Line:
    settings = LineSettings(source=SyntheticSource(kind="synthetic"), prompts="generic")
    return Line("line1", settings, ResultsSettings(), epoch=1)


def books_of(record: Record, line: Line) -> Bookkeeper:
    log = structlog.stdlib.get_logger()
    return Bookkeeper(record, Retention(record, KEEP_DAYS), {"line1": line}, log, RateLimitedLog(log))


@pytest.fixture
def add(record: Record, make_verdict: MakeVerdict) -> Callable[..., None]:
    """`add(count, alarms)` records parts 0 ... count - 1, settled."""

    def append(count: int, alarms: tuple[AlarmEvent, ...] = (), epoch: int = EPOCH) -> None:
        counts = {("line1", epoch): count}
        verdicts = [make_verdict(seq, epoch=epoch) for seq in range(count)]
        record.append(verdicts, alarms, captured=counts, settled=counts)

    return append


def test_old_verdicts_go(record: Record, add: Callable[..., None], tmp_path: Path) -> None:
    """All of them, in more than one step; young ones stay."""
    add(1200)
    assert sweep(record, days=29) == 0
    assert sweep(record, days=31) == 1200
    assert seqs(tmp_path) == []


def test_a_sweep_is_one_line_of_the_log(
    record: Record, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many steps it takes; a sweep that finds nothing is none."""
    add(1200)
    later_ns = time.time_ns() + 31 * NS_PER_DAY
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    with capture_logs() as logs:
        books = books_of(record, line_of_the_record())
        for now_s in range(7200):
            books.delete_old(float(now_s))
    assert [(line["event"], line["rows"]) for line in logs] == [("old_rows_deleted", 1200)]


def test_what_came_later_stays(record: Record, add: Callable[..., None], tmp_path: Path) -> None:
    """The limit is by age and not by number."""
    add(3)
    between = time.time_ns()
    add(5)
    Retention(record, KEEP_DAYS).step(0.0, between + KEEP_DAYS * NS_PER_DAY)
    assert seqs(tmp_path) == [3, 4]


def test_open_alarms_and_their_verdicts_stay(
    record: Record, add: Callable[..., None], tmp_path: Path
) -> None:
    """Until somebody has acknowledged them, and then as long as everything else."""
    add(5, alarms=(alarm(1), alarm(3)))
    record.acknowledge("line1", {AlarmKind.NG: 1})
    assert sweep(record, days=1000) == 4 + 1
    assert seqs(tmp_path) == [3]
    assert record.open_alarms("line1", AlarmKind.NG).count == 1
    record.acknowledge("line1", {AlarmKind.NG: 1})
    assert sweep(record, days=29) == 0
    assert sweep(record, days=1000) == 2
    assert seqs(tmp_path) == []


def test_a_part_that_went_is_not_recorded_again(
    record: Record, add: Callable[..., None], make_verdict: MakeVerdict, tmp_path: Path
) -> None:
    """A detector replays it to a service that was started since: the counts of the camera's start tell."""
    add(4)
    assert sweep(record, days=1000) == 4
    line = line_of_the_record()
    books = books_of(record, line)
    books.restore(0.0)
    for seq in range(5):
        books.take(Entry(make_verdict(seq), replayed=True), 0.0)
    assert [entry.verdict.seq for entry in books.write(0.0)] == [4]
    assert line.ledger.overdue(1000.0, most=10) == []


def test_a_part_that_still_waits_keeps_those_after_it(
    record: Record, make_verdict: MakeVerdict, tmp_path: Path
) -> None:
    """What is not settled for good may not be forgotten: a restart would take it for missing."""
    key = ("line1", EPOCH)
    record.append([make_verdict(0), make_verdict(2)], captured={key: 3}, settled={key: 1})
    assert sweep(record, days=1000) == 1
    assert seqs(tmp_path) == [2]
    assert record.recorded(*key) == [range(1), range(2, 3)]


def test_camera_starts_of_long_ago_go_wholly(
    record: Record, make_verdict: MakeVerdict, tmp_path: Path
) -> None:
    """What was settled last in one is told by no later transaction; nothing of it is resumed."""
    for epoch in range(20):
        record.append([make_verdict(0, epoch=epoch)], captured={("line1", epoch): 1})
    assert sweep(record, days=29) == 0
    assert sweep(record, days=1000) == 4
    assert record.recorded("line1", 3) == [range(1)]
    assert record.recorded("line1", 4) == [range(1)]
    assert len(seqs(tmp_path)) == 16


def test_a_record_that_cannot_be_written_stays_whole(
    record: Record, add: Callable[..., None], tmp_path: Path
) -> None:
    """The fault has the name that every write has, and the next sweep goes on."""
    add(3)
    with closing(sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Fault, match="record_failed"):
            sweep(record, days=1000)
    assert seqs(tmp_path) == [0, 1, 2]
    assert sweep(record, days=1000) == 3
