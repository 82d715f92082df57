"""The record read beside its writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from alfa.errors import BadInput
from edge.messages import Result, Verdict
from edge.results.reader import RecordReader
from edge.results.record import Record
from edge.results.schema import SCHEMA_VERSION

MakeVerdict = Callable[..., Verdict]
FILE = "results.sqlite"


def test_the_last_prompts_are_those_of_the_last_judged_part(
    record: Record, make_verdict: MakeVerdict, tmp_path: Path
) -> None:
    """A FAULT says nothing about prompts; another line has its own; the writer goes on meanwhile."""
    with RecordReader.open(tmp_path / FILE) as reader:
        assert reader.last_prompts("line1") == ""
        record.append(
            [
                make_verdict(0, prompts="old"),
                make_verdict(1, prompts="new"),
                make_verdict(2, Result.FAULT, prompts="none"),
                make_verdict(0, line="line2", prompts="other"),
            ]
        )
        assert reader.last_prompts("line1") == "new"


def test_a_parts_result(record: Record, make_verdict: MakeVerdict, tmp_path: Path) -> None:
    """By line, epoch and seq; None for a part that has no verdict here."""
    record.append([make_verdict(0), make_verdict(1, Result.NG, score=0.75)])
    with RecordReader.open(tmp_path / FILE) as reader:
        assert [reader.result("line1", 7, seq) for seq in range(3)] == [Result.OK, Result.NG, None]
        assert reader.result("line1", 8, 0) is None


def test_only_a_record_is_read(tmp_path: Path) -> None:
    """No file, something else, and another program's database; none is made or changed."""
    with pytest.raises(BadInput, match="no such record"):
        RecordReader.open(tmp_path / FILE)
    (tmp_path / "text").write_text("not a database, but long enough to look like one" * 10)
    with pytest.raises(BadInput, match="cannot be read as a record"):
        RecordReader.open(tmp_path / "text")
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE x (y)")
    with pytest.raises(BadInput, match="is another program's database"):
        RecordReader.open(tmp_path / "other")
    assert not (tmp_path / FILE).exists()


def test_a_record_of_a_newer_version_is_not_read(record: Record, tmp_path: Path) -> None:
    """Its columns may mean something else."""
    with closing(sqlite3.connect(tmp_path / FILE)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(BadInput, match=f"user_version = {SCHEMA_VERSION + 1}: .* newer version"):
        RecordReader.open(tmp_path / FILE)


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    """As such: it is what a service leaves that ended before its first transaction."""
    (tmp_path / FILE).touch()
    with pytest.raises(BadInput, match="is empty"):
        RecordReader.open(tmp_path / FILE)
