"""What goes into the record, and in which transaction: every one waits for the disk."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from edge.messages import MOST_LOST_AT_ONCE, Beat, FaultCode, ServiceState
from edge.rate_limited_log import RateLimitedLog
from edge.results.bookkeeper import Bookkeeper, Entry
from edge.results.line import Line
from edge.results.record import Record
from edge.results.retention import Retention
from edge.settings import LineSettings, ResultsSettings, SyntheticSource
from tests.edge.results.conftest import MakeVerdict

EPOCH = 7


def books_of(record: Record) -> tuple[Bookkeeper, Line]:
    settings = LineSettings(source=SyntheticSource(kind="synthetic"), prompts="generic")
    line = Line("line1", settings, ResultsSettings(), epoch=1)
    log = structlog.stdlib.get_logger()
    return Bookkeeper(
        record, Retention(record, keep_days=365), {"line1": line}, log, RateLimitedLog(log)
    ), line


def hear_both(line: Line) -> None:
    """Camera and detector are alive."""
    beat = Beat("camera", "line1", ServiceState.READY, EPOCH, {})
    for upstream in (line.camera, line.detector):
        upstream.hear(beat, 0.0)
        upstream.is_lost(0.0)


def test_a_count_waits_for_the_verdicts_of_its_parts(record: Record) -> None:
    """A camera's count alone is written after a quarter of a second and not before."""
    books, line = books_of(record)
    books.captured(line, EPOCH, 3, now_s=0.1)
    books.write(0.2)
    assert record.captured("line1", EPOCH) == 0
    books.write(0.3)
    assert record.captured("line1", EPOCH) == 3


def test_the_last_count_waits_for_nothing(record: Record) -> None:
    """A service that ends leaves no count behind."""
    books, line = books_of(record)
    books.captured(line, EPOCH, 3, now_s=0.1)
    books.write(0.2, last=True)
    assert record.captured("line1", EPOCH) == 3


def test_a_verdict_brings_the_count_of_its_epoch(record: Record, make_verdict: MakeVerdict) -> None:
    """In its own transaction: a second one would hold up the next verdict."""
    books, line = books_of(record)
    books.captured(line, EPOCH, 9, now_s=0.1)
    books.take(Entry(make_verdict(4)), now_s=0.2)
    books.write(0.2)
    assert record.captured("line1", EPOCH) == 9
    books.take(Entry(make_verdict(9)), now_s=0.21)
    books.write(0.21)
    assert record.captured("line1", EPOCH) == 10


def test_a_replay_makes_no_part_late_again(record: Record, make_verdict: MakeVerdict) -> None:
    """A slow detector is asked many times, and its answers hold the same late verdicts each time."""
    books, line = books_of(record)
    books.captured(line, EPOCH, 1, now_s=0.1)
    books.take_overdue(now_s=100.0)
    books.write(100.0)
    books.take(Entry(make_verdict(0)), now_s=101.0)
    for _ in range(3):
        books.take(Entry(make_verdict(0), replayed=True), now_s=102.0)
    assert (line.heart.counters["no_verdict"], line.heart.counters["late"]) == (1, 1)


def test_what_is_settled_goes_into_the_record(
    record: Record, make_verdict: MakeVerdict, tmp_path: Path
) -> None:
    """As of the transaction before: after a restart nothing below is looked for part by part."""
    books, _ = books_of(record)
    for seq in (0, 1, 3, 4):
        books.take(Entry(make_verdict(seq)), now_s=0.1)
        books.write(0.1)
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as connection:
        assert connection.execute("SELECT settled FROM epochs").fetchall() == [(2,)]
    assert record.recorded("line1", EPOCH) == [range(2), range(3, 5)]


def alarms(path: Path) -> list[tuple[Any, ...]]:
    """Every alarm of the record."""
    with closing(sqlite3.connect(path / "results.sqlite")) as connection:
        return connection.execute("SELECT kind, code, detail FROM alarms ORDER BY id").fetchall()


def test_a_count_that_is_not_believed_is_a_loss_while_it_lasts(record: Record, tmp_path: Path) -> None:
    """One alarm for a run of them, each counted, nothing of it in the record's counts; a true one ends it."""
    books, line = books_of(record)
    books.restore(0.0)
    hear_both(line)
    for _ in range(3):
        books.captured(line, EPOCH, 2**62, now_s=0.1)
    assert (line.loss(), line.heart.counters["implausible"]) == (FaultCode.COUNT_DOUBTED, 3)
    assert line.telegram().image.fault_code == FaultCode.COUNT_DOUBTED
    books.captured(line, EPOCH, 2, now_s=0.2)
    books.write(1.0)
    assert line.loss() is FaultCode.NONE
    assert record.captured("line1", EPOCH) == 2
    detail = f"count {2**62} of epoch {EPOCH} is too far ahead"
    assert alarms(tmp_path) == [("FAULT", FaultCode.COUNT_DOUBTED, detail)]


def test_a_verdict_that_is_not_believed_is_not_recorded(record: Record, make_verdict: MakeVerdict) -> None:
    """Neither it nor the parts before it; it is counted."""
    books, line = books_of(record)
    for seq in (0, 2**62, 2**63 - 1):
        books.take(Entry(make_verdict(seq)), now_s=0.1)
    assert [entry.verdict.seq for entry in books.write(0.1)] == [0]
    assert line.heart.counters["implausible"] == 2
    assert (line.ledger.owed, record.captured("line1", EPOCH)) == (0, 1)


def test_parts_that_nobody_heard_of_are_one_alarm(record: Record, tmp_path: Path) -> None:
    """After hours without a recorder: a bounded number of rows, and the range in words."""
    books, line = books_of(record)
    for beat in range(4):
        books.captured(line, EPOCH, 10_000_000 + beat, now_s=0.1)
    books.write(1.0)
    told = f"parts 0 to {10_000_002 - MOST_LOST_AT_ONCE} of epoch {EPOCH} were not heard of"
    assert alarms(tmp_path)[-1] == ("FAULT", FaultCode.NO_VERDICT, told)
    again, restarted = books_of(record)
    again.restore(2.0)
    assert (restarted.ledger.owed, restarted.count_doubted) == (MOST_LOST_AT_ONCE, False)


def test_verdicts_of_many_camera_starts_at_once(record: Record, make_verdict: MakeVerdict) -> None:
    """More than the ledger remembers: all are recorded."""
    books, _ = books_of(record)
    for epoch in range(40):
        books.take(Entry(make_verdict(0, epoch=epoch)), now_s=0.1)
    assert len(books.write(0.1)) == 40


def test_more_verdicts_than_may_wait_are_counted(
    record: Record, tmp_path: Path, make_verdict: MakeVerdict
) -> None:
    """While the record fails they wait up to a bound; what is beyond becomes FAULT(no_verdict) later."""
    books, line = books_of(record)
    books.restore(0.0)
    books.take(Entry(make_verdict(0)), now_s=0.1)
    with closing(sqlite3.connect(tmp_path / "results.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert books.write(0.1) == []
        verdict = make_verdict(0)
        for seq in range(1, 20_003):
            books.take(Entry(dataclasses.replace(verdict, seq=seq)), now_s=0.2)
        other.execute("ROLLBACK")
    assert line.heart.counters["not_kept"] == 3
    written = 0
    while entries := books.write(10.0):
        written += len(entries)
    assert (written, books.trouble) == (20_000, "")


def test_an_integer_that_sqlite_cannot_hold_leaves_no_transaction(
    record: Record, make_verdict: MakeVerdict
) -> None:
    """Whatever ends a call, the next one finds the record as it was before."""
    with pytest.raises(OverflowError):
        record.append([make_verdict(0)], captured={("line1", EPOCH): 2**63})
    record.append([make_verdict(1)])
    assert record.recorded("line1", EPOCH) == [range(1, 2)]
