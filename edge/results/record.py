"""The record: an SQLite file that holds every verdict once, every alarm, and what each camera has captured.

Written by one thread. Every call that writes is one transaction, on disk when it returns: the PLC is told
afterwards.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Self, TypeVar

from alfa.errors import Fault
from edge.messages import FaultCode, Result, Verdict
from edge.results import statements
from edge.results.alarm import AlarmEvent, AlarmKind, OpenAlarms
from edge.results.opening import failed, open_record, primary_code
from edge.results.reader import read_only

_EPOCHS_RESUMED = 16
_NS_PER_US = 1000
_Written = TypeVar("_Written")


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
        now_ns = time.time_ns()
        below = settled or {}

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                statements.INSERT_VERDICT, [statements.verdict_row(each, now_ns) for each in verdicts]
            )
            connection.executemany(statements.INSERT_ALARM, [dataclasses.astuple(each) for each in alarms])
            connection.executemany(
                statements.UPSERT_EPOCH,
                [(*key, count, below.get(key, 0), now_ns) for key, count in (captured or {}).items()],
            )

        self._transact(write)

    def acknowledge(self, line: str, events: Mapping[AlarmKind, int]) -> None:
        """Mark the oldest open events of a line as acknowledged now, so many of each kind, all or nothing."""
        now_ns = time.time_ns()
        self._transact(
            lambda connection: connection.executemany(
                statements.ACKNOWLEDGE, [(now_ns, line, str(kind), count) for kind, count in events.items()]
            )
        )

    def delete_old(self, before_ns: int, place: OldRows, most: int) -> OldRows:
        """Delete, of the next rows in the order of their coming, those that nobody needs any more.

        Args:
            before_ns: UTC; a verdict recorded, or an alarm acknowledged, since then stays.
            place: where the step before ended.
            most: rows of each table to look at.
        """
        verdict = self._last_old(statements.VERDICTS_BY_AGE, before_ns, place.verdict, most)
        alarm = self._last_old(statements.ALARMS_BY_AGE, before_ns, place.alarm, most)
        if (verdict, alarm) == (place.verdict, place.alarm):
            return OldRows(done=True)

        def delete(connection: sqlite3.Connection) -> int:
            connection.execute(statements.CLOSE_EPOCHS, (before_ns, _EPOCHS_RESUMED))
            verdicts = connection.execute(statements.DELETE_VERDICTS, (place.verdict, verdict))
            alarms = connection.execute(statements.DELETE_ALARMS, (place.alarm, alarm, before_ns))
            return verdicts.rowcount + alarms.rowcount

        return OldRows(verdict, alarm, self._transact(delete))

    def _last_old(self, by_age: str, before_ns: int, after: int, most: int) -> int:
        """Id up to which rows after `after` are old without exception."""
        old = takewhile(lambda row: row[1] < before_ns, self._rows(by_age, (after, most)))
        return max((row for row, _ in old), default=after)

    def open_alarms(self, line: str, kind: AlarmKind) -> OpenAlarms:
        """What a restarted service must go on showing."""
        count, last, _ = self._rows(statements.OPEN_ALARMS, (line, str(kind)))[0]
        return OpenAlarms(count, FaultCode(last)) if count else OpenAlarms()

    def last_results(self, line: str, most: int) -> list[Result]:
        """Results of the last recorded parts of a line, oldest first."""
        rows = self._rows(statements.LAST_RESULTS, (line, most))
        return [Result(result) for (result,) in reversed(rows)]

    def recorded(self, line: str, epoch: int) -> list[range]:
        """The seqs of an epoch that are settled, as ranges in order; two of them may touch.

        Only what lies above the count `settled` is looked for part by part, however long the epoch is.
        """
        found = self._rows("SELECT settled FROM epochs WHERE line = ? AND epoch = ?", (line, epoch))
        settled = int(found[0][0]) if found else 0
        islands = self._rows(statements.ISLANDS, (line, epoch, settled))
        below = [range(settled)] if settled else []
        return [*below, *(range(first, last + 1) for first, last in islands)]

    def epochs(self, line: str) -> dict[int, int]:
        """Parts known to be captured in each of the camera's last starts, oldest first."""
        return dict(reversed(self._rows(statements.EPOCHS, (line, _EPOCHS_RESUMED))))

    def captured(self, line: str, epoch: int) -> int:
        """Parts known to be captured in an epoch; 0 for one that is not known."""
        rows = self._rows("SELECT captured FROM epochs WHERE line = ? AND epoch = ?", (line, epoch))
        return int(rows[0][0]) if rows else 0

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        connection = self._connected()
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise failed(error) from error

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
            raise failed(error) from error
        finally:
            self._roll_back(connection)
        self.counters["record_commits"] += 1
        self.counters["record_commit_us"] += (time.monotonic_ns() - begun_ns) // _NS_PER_US
        return written

    def _let_go_of_read_only(self, error: sqlite3.Error) -> None:
        """What was opened on a read-only disk cannot write later either, when the disk can."""
        if primary_code(error) == sqlite3.SQLITE_READONLY:
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
                self._opened = open_record(self._path, self._goes_on)
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
            return connection.execute(statements.ALARM_IS_OPEN, (line, epoch, seq)).fetchone() is not None
    except sqlite3.Error:
        return True
