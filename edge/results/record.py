"""The record: an SQLite file that holds every verdict once, every alarm, and what each camera has captured.

Written by one thread. Every call that writes is one transaction, on disk when it returns: the PLC is told
afterwards.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import operator
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Any, Self, TypeVar

from alfa.errors import BadInput, Fault
from edge.messages import FaultCode, Reason, Region, Result, Timings, Verdict
from edge.results.reader import read_only
from edge.results.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, schema_version

_EPOCHS_RESUMED = 16
_BUSY_S = 0.2
# Of SQLite's virtual machine: some milliseconds each, so that only what takes long is told of.
_STEPS_OF_A_LONG_CALL = 100_000
_NS_PER_US = 1000
# A disk that is full or fails, and another program that holds the file: what may pass by itself.
_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY}
_PASSING_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
# Of an extended error code.
_PRIMARY_CODE = 0xFF
_Written = TypeVar("_Written")


class AlarmKind(StrEnum):
    """Which alarm an event belongs to."""

    NG = "NG"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """What raised an alarm; a loss on the line belongs to no part and has no epoch and seq."""

    line: str
    kind: AlarmKind
    code: FaultCode
    raised_wall_ns: int
    epoch: int | None = None
    seq: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OpenAlarms:
    """Events of one line and kind that nobody has acknowledged, and the code of the last one."""

    count: int = 0
    last: FaultCode = FaultCode.NONE


@dataclass(frozen=True, slots=True)
class OldRows:
    """How far a sweep through what is old has come.

    Attributes:
        verdict: id of the last verdict looked at.
        alarm: likewise.
        deleted: rows that went in the last step.
        done: what follows is young enough.
    """

    verdict: int = 0
    alarm: int = 0
    deleted: int = 0
    done: bool = False


class Record:
    """A record, opened by the first call that the disk allows.

    Args:
        path: of the file; made, with its directory, where there is none.
        goes_on: called now and then by a call that takes long, such as the first with an older record.

    Attributes:
        counters: transactions committed, microseconds that took, and transactions that failed.

    Raises (every method that reads or writes):
        Fault: `record_failed`, the disk is full or fails; nothing of the call was written.
        BadInput: not writable, not a record, or made by a newer version; the file is unchanged.
    """

    def __init__(self, path: Path, goes_on: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._goes_on = goes_on
        self._opened: sqlite3.Connection | None = None
        self.counters = Counter(record_commits=0, record_commit_us=0, record_failures=0)

    @classmethod
    def open(cls, path: Path, goes_on: Callable[[], None] = lambda: None) -> Self:
        """The record of this file, open unless the disk is full or fails at this moment.

        Raises:
            BadInput: as above; a disk in trouble is none, because it needs no other settings.
        """
        record = cls(path, goes_on)
        with suppress(Fault):
            record._connected()
        return record

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def append(
        self,
        verdicts: Sequence[Verdict] = (),
        alarms: Sequence[AlarmEvent] = (),
        captured: Mapping[tuple[str, int], int] | None = None,
        settled: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        """Write verdicts that are not there yet, alarm events and counts of parts, all or nothing.

        Args:
            verdicts: one already recorded for its (line, epoch, seq) stays as it is.
            alarms: events, in the order they happened.
            captured: parts known to be captured, by line and epoch; counts only grow.
            settled: of the same line and epoch, the seq below which no part waits for a verdict; only grows.
        """
        now = time.time_ns()
        below = settled or {}

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(_INSERT_VERDICT, [_verdict_row(each, now) for each in verdicts])
            connection.executemany(_INSERT_ALARM, [dataclasses.astuple(each) for each in alarms])
            connection.executemany(
                _UPSERT_EPOCH,
                [(*key, count, below.get(key, 0), now) for key, count in (captured or {}).items()],
            )

        self._transact(write)

    def acknowledge(self, line: str, events: Mapping[AlarmKind, int]) -> None:
        """Mark the oldest open events of a line as acknowledged now, so many of each kind, all or nothing."""
        now = time.time_ns()
        self._transact(
            lambda connection: connection.executemany(
                _ACKNOWLEDGE, [(now, line, str(kind), count) for kind, count in events.items()]
            )
        )

    def delete_old(self, before_ns: int, place: OldRows, most: int) -> OldRows:
        """Delete, of the next rows in the order of their coming, those that nobody needs any more.

        Args:
            before_ns: UTC; a verdict recorded, or an alarm acknowledged, since then stays.
            place: where the step before ended.
            most: rows of each table to look at.
        """
        verdict = self._last_old(_VERDICTS_BY_AGE, before_ns, place.verdict, most)
        alarm = self._last_old(_ALARMS_BY_AGE, before_ns, place.alarm, most)
        if (verdict, alarm) == (place.verdict, place.alarm):
            return OldRows(done=True)

        def delete(connection: sqlite3.Connection) -> int:
            connection.execute(_CLOSE_EPOCHS, (before_ns, _EPOCHS_RESUMED))
            verdicts = connection.execute(_DELETE_VERDICTS, (place.verdict, verdict))
            alarms = connection.execute(_DELETE_ALARMS, (place.alarm, alarm, before_ns))
            return verdicts.rowcount + alarms.rowcount

        return OldRows(verdict, alarm, self._transact(delete))

    def _last_old(self, by_age: str, before_ns: int, after: int, most: int) -> int:
        """Id up to which rows after `after` are old without exception."""
        old = takewhile(lambda row: row[1] < before_ns, self._rows(by_age, (after, most)))
        return max((row for row, _ in old), default=after)

    def open_alarms(self, line: str, kind: AlarmKind) -> OpenAlarms:
        """What a restarted service must go on showing."""
        count, last, _ = self._rows(_OPEN_ALARMS, (line, str(kind)))[0]
        return OpenAlarms(count, FaultCode(last)) if count else OpenAlarms()

    def last_results(self, line: str, most: int) -> list[Result]:
        """Results of the last recorded parts of a line, oldest first."""
        rows = self._rows(LAST_RESULTS, (line, most))
        return [Result(result) for (result,) in reversed(rows)]

    def recorded(self, line: str, epoch: int) -> list[range]:
        """The seqs of an epoch that are settled, as ranges in order; two of them may touch.

        Only what lies above the count `settled` is looked for part by part, however long the epoch is.
        """
        found = self._rows("SELECT settled FROM epochs WHERE line = ? AND epoch = ?", (line, epoch))
        settled = int(found[0][0]) if found else 0
        islands = self._rows(_ISLANDS, (line, epoch, settled))
        below = [range(settled)] if settled else []
        return [*below, *(range(first, last + 1) for first, last in islands)]

    def epochs(self, line: str) -> dict[int, int]:
        """Parts known to be captured in each of the camera's last starts, oldest first."""
        return dict(reversed(self._rows(_EPOCHS, (line, _EPOCHS_RESUMED))))

    def captured(self, line: str, epoch: int) -> int:
        """Parts known to be captured in an epoch; 0 for one that is not known."""
        rows = self._rows("SELECT captured FROM epochs WHERE line = ? AND epoch = ?", (line, epoch))
        return int(rows[0][0]) if rows else 0

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        connection = self._connected()
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise _failed(error) from error

    def _transact(self, write: Callable[[sqlite3.Connection], _Written]) -> _Written:
        connection = self._connected()
        begun_ns = time.monotonic_ns()
        try:
            connection.execute("BEGIN IMMEDIATE")
            written = write(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.counters["record_failures"] += 1
            self._let_go_of_read_only(error)
            raise _failed(error) from error
        finally:
            self._roll_back(connection)
        self.counters["record_commits"] += 1
        self.counters["record_commit_us"] += (time.monotonic_ns() - begun_ns) // _NS_PER_US
        return written

    def _let_go_of_read_only(self, error: sqlite3.Error) -> None:
        """What was opened on a read-only disk cannot write later either, when the disk can."""
        if _code(error) == sqlite3.SQLITE_READONLY:
            self.close()

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """End what is left of a transaction; a full disk has ended it by itself already."""
        try:
            if self._opened is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing takes it back too, and the next call opens the file anew.
            self.close()

    def _connected(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self._opened = _open(self._path, self._goes_on)
            except Fault:
                self.counters["record_failures"] += 1
                raise
        return self._opened


def alarm_is_open(database: Path, line: str, epoch: int, seq: int) -> bool:
    """Whether a part's alarm waits for its acknowledge; for other threads than the record's own.

    A record that cannot be read says yes: who asks wants to delete.
    """
    try:
        with closing(read_only(database)) as connection:
            return connection.execute(_ALARM_IS_OPEN, (line, epoch, seq)).fetchone() is not None
    except sqlite3.Error:
        return True


def _open(path: Path, goes_on: Callable[[], None]) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise _cannot_be_opened(path, error) from error
    connection.set_progress_handler(goes_on, _STEPS_OF_A_LONG_CALL)
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _cannot_be_opened(path, error) from error
    except BadInput:
        connection.close()
        raise
    return connection


def _failed(error: Exception) -> Fault:
    return Fault("record_failed", str(error))


def _cannot_be_opened(path: Path, error: OSError | sqlite3.Error) -> Fault | BadInput:
    if _may_pass(error) or _is_on_read_only_disk(path):
        return _failed(error)
    return BadInput(
        path, "", None, f"the record cannot be opened ({error}); check paths.state and results.database"
    )


def _may_pass(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in _PASSING_ERRNO
    return _code(error) in _PASSING


def _code(error: sqlite3.Error) -> int:
    # Python's own complaints have none.
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & _PRIMARY_CODE


def _is_on_read_only_disk(record: Path) -> bool:
    """A disk that fails becomes read-only. Where there is no record, the path is wrong."""
    try:
        return record.is_file() and bool(os.statvfs(record).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = schema_version(connection, path)
    # FULL: a power cut must not take back what the PLC was told.
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    for step in range(version, SCHEMA_VERSION):
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[step]}"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {step + 1}; COMMIT;"
        )
    # An opened file may still be on a disk that cannot be written.
    connection.executescript("BEGIN IMMEDIATE; COMMIT;")


def _verdict_row(verdict: Verdict, now: int) -> tuple[Any, ...]:
    """Values in the order of `_VERDICT_COLUMNS`; by name, because `asdict` copies each value deeply."""
    return (
        *_plain_values(verdict),
        None if verdict.region is None else _json(_named(verdict.region)),
        _json([_named(reason) for reason in verdict.reasons]),
        _json(_named(verdict.timings)),
        now,
    )


def _named(flat: Region | Reason | Timings) -> dict[str, Any]:
    return {name: getattr(flat, name) for name in flat.__dataclass_fields__}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _insert(table: str, columns: Collection[str], clause: str = "") -> str:
    names, places = ", ".join(columns), ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({names}) VALUES ({places}) {clause}"  # noqa: S608 - names of our own fields


_AS_JSON = ("region", "reasons", "timings")
# A monotonic time says nothing after the next start of the machine.
_NOT_KEPT = ("v", "published_mono_ns", "boot")
_PLAIN_COLUMNS = [
    field.name for field in dataclasses.fields(Verdict) if field.name not in (*_AS_JSON, *_NOT_KEPT)
]
_VERDICT_COLUMNS = (*_PLAIN_COLUMNS, *_AS_JSON, "recorded_wall_ns")
_plain_values = operator.attrgetter(*_PLAIN_COLUMNS)
_INSERT_VERDICT = _insert("verdicts", _VERDICT_COLUMNS, "ON CONFLICT (line, epoch, seq) DO NOTHING")
_ALARM_COLUMNS = [field.name for field in dataclasses.fields(AlarmEvent)]
_INSERT_ALARM = _insert("alarms", _ALARM_COLUMNS)
_UPSERT_EPOCH = """
INSERT INTO epochs (line, epoch, captured, settled, opened_wall_ns) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (line, epoch) DO UPDATE SET
    captured = max(captured, excluded.captured), settled = max(settled, excluded.settled)
"""
_ACKNOWLEDGE = """
UPDATE alarms SET acknowledged_wall_ns = ? WHERE id IN (
    SELECT id FROM alarms WHERE line = ? AND kind = ? AND acknowledged_wall_ns IS NULL ORDER BY id LIMIT ?)
"""
# With a bare max(), SQLite gives the other columns of the row that has it.
_OPEN_ALARMS = """
SELECT count(*), code, max(id) FROM alarms WHERE line = ? AND kind = ? AND acknowledged_wall_ns IS NULL
"""
# Consecutive seqs have the same difference to their row number.
_ISLANDS = """
SELECT min(seq), max(seq) FROM (
    SELECT seq, seq - row_number() OVER (ORDER BY seq) AS island FROM verdicts
    WHERE line = ? AND epoch = ? AND seq >= ?)
GROUP BY island ORDER BY 1
"""
# The unique index of (line, epoch, seq) would be chosen, and everything sorted.
LAST_RESULTS = """
SELECT result FROM verdicts INDEXED BY verdicts_of_line WHERE line = ? ORDER BY id DESC LIMIT ?
"""
_EPOCHS = "SELECT epoch, captured FROM epochs WHERE line = ? ORDER BY rowid DESC LIMIT ?"
_VERDICTS_BY_AGE = "SELECT id, recorded_wall_ns FROM verdicts WHERE id > ? ORDER BY id LIMIT ?"
_ALARMS_BY_AGE = "SELECT id, raised_wall_ns FROM alarms WHERE id > ? ORDER BY id LIMIT ?"
# No camera start that far back is resumed: nothing of it is owed, recorded or not.
_CLOSE_EPOCHS = """
UPDATE epochs SET settled = captured WHERE settled < captured AND opened_wall_ns < ? AND ? <= (
    SELECT count(*) FROM epochs AS later WHERE later.line = epochs.line AND later.rowid > epochs.rowid)
"""
# A part that is not settled would be taken for one without a verdict, and recorded a second time.
_DELETE_VERDICTS = """
DELETE FROM verdicts WHERE id > ? AND id <= ?
AND seq < (SELECT settled FROM epochs WHERE line = verdicts.line AND epoch = verdicts.epoch)
AND NOT EXISTS (SELECT 1 FROM alarms WHERE line = verdicts.line AND epoch = verdicts.epoch
    AND seq = verdicts.seq AND acknowledged_wall_ns IS NULL)
"""
_DELETE_ALARMS = "DELETE FROM alarms WHERE id > ? AND id <= ? AND acknowledged_wall_ns < ?"
_ALARM_IS_OPEN = """
SELECT 1 FROM alarms WHERE line = ? AND epoch = ? AND seq = ? AND acknowledged_wall_ns IS NULL
"""
