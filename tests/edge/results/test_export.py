"""`edge-results export`: what another program gets of the record, while the service writes or rests."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from alfa.errors import BadInput
from edge.messages import Reason, Region, Timings
from edge.messages import Result as Judgement
from edge.results import export
from edge.results.export import COLUMNS, since_ns, verdicts
from edge.results.main import app
from edge.results.record import Record
from edge.results.schema import APPLICATION_ID, MIGRATIONS

if TYPE_CHECKING:
    from tests.edge.results.conftest import MakeVerdict

LINE = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Path:
    """Of a box whose record is at `var/results.sqlite` beside it."""
    return write_config(LINE)


@pytest.fixture
def writing(config: Path) -> Iterator[Record]:
    """The record, open as the service has it."""
    record = Record.open(config.parent / "var" / "results.sqlite")
    yield record
    record.close()


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", "--config", str(config), *arguments])


def exported(config: Path, *arguments: str) -> list[dict[str, str]]:
    outcome = run(config, "--csv", *arguments)
    assert outcome.exit_code == 0, outcome.exception
    return list(csv.DictReader(io.StringIO(outcome.stdout)))


def test_every_value_of_a_verdict(config: Path, writing: Record, make_verdict: MakeVerdict) -> None:
    """Numbers as such, structures as JSON, times as ISO 8601 in UTC, nothing where nothing is known."""
    published = datetime(2026, 3, 1, 6, tzinfo=UTC)
    verdict = make_verdict(
        3,
        Judgement.NG,
        score=0.75,
        detail='a "quoted", odd\ntext',
        region=Region(1, 2, 3, 4, 12),
        reasons=(Reason("ein Kratzer: 5 µm", 0.25),),
        timings=Timings(total=41.5),
        recipe=9,
        published_wall_ns=int(published.timestamp()) * 10**9 + 250_000_000,
    )
    writing.append([verdict])
    (row,) = exported(config)
    assert tuple(row) == COLUMNS
    identity = (row["line"], row["epoch"], row["seq"], row["result"], row["score"])
    assert identity == ("line1", "7", "3", "NG", "0.75")
    assert json.loads(row["region"]) == {"x": 1, "y": 2, "width": 3, "height": 4, "area": 12}
    assert json.loads(row["reasons"])[0]["text"] == "ein Kratzer: 5 µm"
    assert json.loads(row["timings"])["total"] == 41.5
    assert (row["detail"], row["recipe"]) == ('a "quoted", odd\ntext', "9")
    assert (row["captured_at"], row["published_at"]) == ("", "2026-03-01T06:00:00.250Z")
    assert datetime.fromisoformat(row["recorded_at"]).timestamp() == pytest.approx(time.time(), abs=600)


@pytest.mark.parametrize(
    "part_id", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", "\uff1d1", "'1", "''=1"]
)
def test_no_text_is_a_formula(config: Path, writing: Record, make_verdict: MakeVerdict, part_id: str) -> None:
    """A part id may be what a stranger wrote on the part; a spreadsheet shows it, and it can be had back."""
    writing.append([make_verdict(0, part_id=part_id, detail=part_id)])
    (row,) = exported(config)
    assert (row["part_id"][0], row["detail"][0]) == ("'", "'")
    assert row["part_id"].removeprefix("'") == part_id


def test_texts_and_numbers_stay(config: Path, writing: Record, make_verdict: MakeVerdict) -> None:
    """A number below zero is none that a program would have to take apart."""
    writing.append([make_verdict(0, part_id="A-1=2", score=-0.5)])
    (row,) = exported(config)
    assert (row["part_id"], row["score"]) == ("A-1=2", "-0.5")


def test_pieces_make_a_whole(config: Path, writing: Record, make_verdict: MakeVerdict) -> None:
    """More rows than one read takes: each once, in the order of recording."""
    seqs = [2500 - seq for seq in range(2500)]
    writing.append([make_verdict(seq) for seq in seqs])
    assert [int(row["seq"]) for row in exported(config)] == seqs


def test_rows_come_while_the_service_writes(config: Path, writing: Record, make_verdict: MakeVerdict) -> None:
    """A slow reader holds no lock, and sees what was recorded since it began."""
    writing.append([make_verdict(seq) for seq in range(1001)])
    rows = verdicts(config.parent / "var" / "results.sqlite", 0)
    next(rows)
    writing.append([make_verdict(5000)])
    assert [row[COLUMNS.index("seq")] for row in rows][-1] == 5000


def test_since(config: Path, writing: Record, make_verdict: MakeVerdict) -> None:
    """By the time of recording, which parts without a verdict have too."""
    writing.append([make_verdict(0)])
    assert len(exported(config, "--since", "2026-01-01")) == 1
    assert exported(config, "--since", "2999-01-01T00:00:00+01:00") == []


def test_offset_of_since() -> None:
    """A time with an offset is that moment."""
    assert since_ns("2026-03-01T06:00:00+01:00") == since_ns("2026-03-01T05:00:00Z")


def test_summary_counts_parts(config: Path, writing: Record, make_verdict: MakeVerdict) -> None:
    """Without --csv: for a person."""
    writing.append([make_verdict(0), make_verdict(1), make_verdict(2, Judgement.FAULT)])
    assert [row[:4] for row in export.summary(config.parent / "var" / "results.sqlite", 0)] == [
        ("line1", "FAULT", "stale", 1),
        ("line1", "OK", "", 2),
    ]
    outcome = run(config)
    assert outcome.exit_code == 0
    assert "Parts in the record" in outcome.stdout
    assert "…" not in outcome.stdout


@pytest.mark.parametrize("since", ["yesterday", "", "2026-13-01", "9" * 500])
def test_bad_since(config: Path, writing: Record, since: str) -> None:
    """One line that says what is expected; nothing is printed."""
    outcome = run(config, "--csv", "--since", since)
    assert isinstance(outcome.exception, BadInput)
    assert str(outcome.exception).startswith("--since = ")
    assert "ISO 8601" in str(outcome.exception)
    assert outcome.stdout == ""


def test_output_that_cannot_be_written(config: Path, writing: Record, make_verdict: MakeVerdict) -> None:
    """A file on a full disk: one line with what is wrong, exit 3."""
    writing.append([make_verdict(0)])
    command = [sys.executable, "-m", "edge.results.main", "export", "--csv", "--config", str(config)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "error: export_failed: the output cannot be written: " in done.stderr


def test_no_record_yet(config: Path) -> None:
    """And none is made."""
    outcome = run(config, "--csv")
    assert isinstance(outcome.exception, BadInput)
    assert "no such record" in str(outcome.exception)
    assert not (config.parent / "var").exists()


def test_foreign_file(config: Path) -> None:
    """Another program's database is named as such, and left alone."""
    database = config.parent / "var" / "results.sqlite"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    before = database.read_bytes()
    outcome = run(config, "--csv")
    assert isinstance(outcome.exception, BadInput)
    assert "another program's database" in str(outcome.exception)
    assert database.read_bytes() == before


def test_record_of_an_earlier_release(config: Path) -> None:
    """It can be read before the service of this release has brought it up to date."""
    database = config.parent / "var" / "results.sqlite"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
        )
    assert exported(config) == []
