"""What goes into the record, and in which transaction: every one waits for the disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import structlog

from edge.results.bookkeeper import Bookkeeper, Entry
from edge.results.line import Line
from edge.results.record import Record
from edge.settings import LineSettings, ResultsSettings, SyntheticSource
from tests.edge.results.conftest import MakeVerdict

EPOCH = 7


def books_of(record: Record) -> tuple[Bookkeeper, Line]:
    settings = LineSettings(source=SyntheticSource(kind="synthetic"), prompts="generic")
    line = Line("line1", settings, ResultsSettings(), epoch=1)
    return Bookkeeper(record, {"line1": line}, structlog.stdlib.get_logger()), line


def test_a_count_waits_for_the_verdicts_of_its_parts(record: Record) -> None:
    """A camera's count alone is written after a quarter of a second and not before."""
    books, line = books_of(record)
    books.captured(line, EPOCH, 3, now=0.1)
    books.write(0.2)
    assert record.captured("line1", EPOCH) == 0
    books.write(0.3)
    assert record.captured("line1", EPOCH) == 3


def test_the_last_count_waits_for_nothing(record: Record) -> None:
    """A service that ends leaves no count behind."""
    books, line = books_of(record)
    books.captured(line, EPOCH, 3, now=0.1)
    books.write(0.2, last=True)
    assert record.captured("line1", EPOCH) == 3


def test_a_verdict_brings_the_count_of_its_epoch(record: Record, make_verdict: MakeVerdict) -> None:
    """In its own transaction: a second one would hold up the next verdict."""
    books, line = books_of(record)
    books.captured(line, EPOCH, 9, now=0.1)
    books.take(Entry(make_verdict(4)), now=0.2)
    books.write(0.2)
    assert record.captured("line1", EPOCH) == 9
    books.take(Entry(make_verdict(9)), now=0.21)
    books.write(0.21)
    assert record.captured("line1", EPOCH) == 10


def test_what_is_settled_goes_into_the_record(
    record: Record, make_verdict: MakeVerdict, tmp_path: Path
) -> None:
    """As of the transaction before: after a restart nothing below is looked for part by part."""
    books, _ = books_of(record)
    for seq in (0, 1, 3, 4):
        books.take(Entry(make_verdict(seq)), now=0.1)
        books.write(0.1)
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as connection:
        assert connection.execute("SELECT settled FROM epochs").fetchall() == [(2,)]
    assert record.recorded("line1", EPOCH) == [range(2), range(3, 5)]
