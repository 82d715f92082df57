"""The record as a file: what another reader sees, what survives, and what is refused."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from alfa.errors import BadInput, Fault
from edge.messages import FaultCode, FaultReason, Reason, Region, Result, Timings, Verdict
from edge.results.alarm import AlarmEvent, AlarmKind, OpenAlarms
from edge.results.record import Record
from edge.results.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from edge.results.statements import LAST_RESULTS

FILE = "results.sqlite"


def rows(path: Path, query: str) -> list[dict[str, Any]]:
    """What anybody with an SQLite reader sees."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def ng(seq: int, code: FaultCode = FaultCode.NONE, kind: AlarmKind = AlarmKind.NG) -> AlarmEvent:
    return AlarmEvent("line1", kind, code, 1000 + seq, 7, seq)


def test_every_field_of_a_verdict_is_recorded(
    record: Record, tmp_path: Path, make_verdict: Callable[..., Verdict]
) -> None:
    """Text, numbers, and structures as JSON; recorded at once for another reader."""
    verdict = make_verdict(
        3,
        Result.NG,
        region=Region(1, 2, 3, 4, 12),
        reasons=(Reason("a scratch, ein Kratzer: 5 µm", 0.25),),
        prompts="p",
        bank="b",
        model="m",
        calibration="c",
        recipe=9,
        timings=Timings(total=41.5),
        judged_by="main",
        captured_wall_ns=2**62,
    )
    record.append([verdict])
    (row,) = rows(tmp_path / FILE, "SELECT * FROM verdicts")
    assert json.loads(row["region"]) == {"x": 1, "y": 2, "width": 3, "height": 4, "area": 12}
    assert json.loads(row["reasons"]) == [{"text": "a scratch, ein Kratzer: 5 µm", "similarity": 0.25}]
    assert json.loads(row["timings"])["total"] == 41.5
    assert row["recorded_wall_ns"] > 0
    plain = {name: row[name] for name in ("line", "epoch", "seq", "part_id", "result", "fault", "score")}
    assert plain == {
        "line": "line1",
        "epoch": 7,
        "seq": 3,
        "part_id": "3",
        "result": "NG",
        "fault": "",
        "score": 0.25,
    }
    assert (row["prompts"], row["bank"], row["model"], row["calibration"], row["recipe"]) == (
        *"pbmc",
        9,
    )
    assert (row["judged_by"], row["captured_wall_ns"], row["calibrated"]) == ("main", 2**62, 0)


def test_the_first_verdict_of_a_part_stays(
    record: Record, tmp_path: Path, make_verdict: Callable[..., Verdict]
) -> None:
    """A second one for the same part changes nothing and adds nothing."""
    record.append([make_verdict(1, Result.FAULT)])
    record.append([make_verdict(1, Result.OK), make_verdict(2)])
    assert [row["result"] for row in rows(tmp_path / FILE, "SELECT result FROM verdicts ORDER BY seq")] == [
        "FAULT",
        "OK",
    ]


def test_the_record_is_append_only(
    record: Record, tmp_path: Path, make_verdict: Callable[..., Verdict]
) -> None:
    """Nobody turns an NG into an OK afterwards by accident."""
    record.append([make_verdict(1, Result.NG)])
    with (
        closing(sqlite3.connect(tmp_path / FILE)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute("UPDATE verdicts SET result = 'OK'")


def test_recorded_seqs_are_ranges(record: Record, make_verdict: Callable[..., Verdict]) -> None:
    """Whatever the order of recording; other epochs and lines are apart."""
    record.append([make_verdict(seq) for seq in (5, 0, 1, 2, 9, 4)])
    record.append([make_verdict(3, epoch=8), make_verdict(3, line="line2")])
    assert record.recorded("line1", 7) == [range(3), range(4, 6), range(9, 10)]
    assert record.recorded("line1", 9) == []


def test_nothing_is_looked_for_below_what_is_settled(
    record: Record, make_verdict: Callable[..., Verdict]
) -> None:
    """What the ledger said is settled counts as such after a restart, recorded or skipped; it only grows."""
    record.append([make_verdict(4), make_verdict(6)], captured={("line1", 7): 7}, settled={("line1", 7): 3})
    record.append(captured={("line1", 7): 8}, settled={("line1", 7): 2})
    assert record.recorded("line1", 7) == [range(3), range(4, 5), range(6, 7)]


def test_record_of_the_first_version_is_taken_over(
    tmp_path: Path, make_verdict: Callable[..., Verdict]
) -> None:
    """Its verdicts and counts stay."""
    with closing(sqlite3.connect(tmp_path / FILE)) as old:
        old.executescript(
            f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
            "INSERT INTO epochs VALUES ('line1', 7, 9, 0);"
        )
    record = Record.open(tmp_path / FILE)
    record.append([make_verdict(0), make_verdict(1)])
    assert (record.captured("line1", 7), record.recorded("line1", 7)) == (9, [range(2)])
    record.close()


def test_last_results_of_a_line_are_found_by_an_index(record: Record, tmp_path: Path) -> None:
    """Not by sorting all verdicts of the line, which takes seconds after some weeks."""
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {LAST_RESULTS}", ("line1", 5)).fetchall()
    steps = " ".join(str(step) for step in plan)
    assert "verdicts_of_line" in steps
    assert "TEMP B-TREE" not in steps


def test_captured_counts_only_grow(record: Record) -> None:
    """By line and epoch, oldest epoch first."""
    record.append(captured={("line1", 2**63 - 1): 5, ("line1", 3): 1})
    record.append(captured={("line1", 3): 8, ("line1", 2**63 - 1): 4})
    assert list(record.epochs("line1").items()) == [(2**63 - 1, 5), (3, 8)]
    assert (record.captured("line1", 3), record.captured("line2", 3)) == (8, 0)


def test_last_results_come_oldest_first(record: Record, make_verdict: Callable[..., Verdict]) -> None:
    """As the alarm's window wants them."""
    record.append([make_verdict(0, Result.NG), make_verdict(1), make_verdict(2, Result.FAULT)])
    assert record.last_results("line1", 2) == [Result.OK, Result.FAULT]


def test_alarms_stay_open_until_acknowledged(record: Record, tmp_path: Path) -> None:
    """The oldest first, each kind for itself, and they are kept afterwards."""
    record.append(alarms=[ng(1), ng(2), ng(3), ng(4, FaultCode.STALE, AlarmKind.FAULT)])
    record.acknowledge("line1", {AlarmKind.NG: 2})
    assert record.open_alarms("line1", AlarmKind.NG) == OpenAlarms(1, FaultCode.NONE)
    assert record.open_alarms("line1", AlarmKind.FAULT) == OpenAlarms(1, FaultCode.STALE)
    assert record.open_alarms("line2", AlarmKind.NG) == OpenAlarms()
    acknowledged = rows(tmp_path / FILE, "SELECT seq FROM alarms WHERE acknowledged_wall_ns IS NOT NULL")
    assert [row["seq"] for row in acknowledged] == [1, 2]


def test_alarms_of_both_kinds_are_acknowledged_together(record: Record, tmp_path: Path) -> None:
    """Where one kind cannot be (by a trigger here), the other stays open: the PLC will acknowledge anew."""
    record.append(alarms=[ng(1), ng(2, FaultCode.STALE, AlarmKind.FAULT)])
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute(
            "CREATE TRIGGER fails BEFORE UPDATE ON alarms WHEN old.kind = 'FAULT'"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(Fault, match="record_failed: no"):
        record.acknowledge("line1", {AlarmKind.NG: 1, AlarmKind.FAULT: 1})
    assert record.open_alarms("line1", AlarmKind.NG) == OpenAlarms(1, FaultCode.NONE)


def test_last_open_code_counts(record: Record) -> None:
    """The code shown after a restart is that of the last open event."""
    record.append(
        alarms=[
            ng(1, FaultCode.STALE, AlarmKind.FAULT),
            ng(2, FaultCode.CAMERA_LOST, AlarmKind.FAULT),
        ]
    )
    assert record.open_alarms("line1", AlarmKind.FAULT) == OpenAlarms(2, FaultCode.CAMERA_LOST)


def test_all_or_nothing(record: Record, make_verdict: Callable[..., Verdict], tmp_path: Path) -> None:
    """When the disk is full nothing of the call is written; when there is room again it goes on."""
    record.append([make_verdict(0)])
    connection = record._connected()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Fault, match="record_failed: database or disk is full"):
        record.append([make_verdict(seq, detail="x" * 1000) for seq in range(1, 100)], [ng(1)])
    connection.execute("PRAGMA max_page_count = 1000000")
    assert record.recorded("line1", 7) == [range(1)]
    record.append([make_verdict(1)])
    assert record.recorded("line1", 7) == [range(2)]
    assert record.open_alarms("line1", AlarmKind.NG).count == 0


WRITER = """
import sys
from pathlib import Path
from edge.messages import Result, Verdict
from edge.results.record import Record
record = Record.open(Path(sys.argv[1]))
for seq in range(10**9):
    record.append([Verdict("line1", 7, seq, "", Result.OK, score=0.1, threshold=0.5)])
    print(seq, flush=True)
"""


def test_committed_means_kept(tmp_path: Path) -> None:
    """Killed with SIGKILL in the middle of work: all that was reported as recorded is there."""
    path = tmp_path / FILE
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(20):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        reported = 20 + len(process.stdout.readlines())
    (kept,) = Record.open(path).recorded("line1", 7)
    assert kept.start == 0
    assert kept.stop >= reported


def test_a_file_that_is_held_is_opened_later(tmp_path: Path, make_verdict: Callable[..., Verdict]) -> None:
    """Another program writes at the moment of the start: no reason to end."""
    Record.open(tmp_path / FILE).close()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        record = Record.open(tmp_path / FILE)
        with pytest.raises(Fault, match="record_failed: database is locked"):
            record.append([make_verdict(0)])
    record.append([make_verdict(0)])
    assert record.recorded("line1", 7) == [range(1)]
    record.close()


def test_reopened_record_goes_on(tmp_path: Path, make_verdict: Callable[..., Verdict]) -> None:
    """Migrations are not run twice."""
    for seq in range(2):
        record = Record.open(tmp_path / FILE)
        record.append([make_verdict(seq, fault=FaultReason.NONE)])
        record.close()
    assert [row["seq"] for row in rows(tmp_path / FILE, "SELECT seq FROM verdicts")] == [0, 1]


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """And left as it is."""
    Record.open(tmp_path / FILE).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(BadInput, match=rf"{FILE}: user_version = {SCHEMA_VERSION + 1}: .*newer version"):
        Record.open(tmp_path / FILE)
    assert (tmp_path / FILE).read_bytes() == before


def test_other_programs_database_is_refused(tmp_path: Path) -> None:
    """It is not written into."""
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(BadInput, match="another program's database"):
        Record.open(tmp_path / FILE)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"no database" * 100)])
def test_unusable_file_is_bad_input(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A directory in its place, or something that is no database."""
    make(tmp_path / FILE)
    with pytest.raises(BadInput, match=rf"{FILE}: the record cannot be opened"):
        Record.open(tmp_path / FILE)


def test_unusable_directory_is_bad_input(tmp_path: Path) -> None:
    """A file where the state directory should be."""
    (tmp_path / "state").write_text("")
    with pytest.raises(BadInput, match=r"the record cannot be opened .*File exists"):
        Record.open(tmp_path / "state" / FILE)
