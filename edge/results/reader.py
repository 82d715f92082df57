"""Looking into the record beside the service that writes it: read-only, and the writer never waits."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alfa.errors import BadInput, Fault
from edge.messages import Result
from edge.results.schema import schema_version

_BUSY_S = 5.0


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing and makes no file.

    Raises:
        sqlite3.Error: there is no such file, or it cannot be opened.
    """
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)


def existing_record(path: Path) -> sqlite3.Connection:
    """A read-only connection to a record of this program or an earlier version of it.

    Raises:
        BadInput: there is no such file, it is no record or an empty one, or of a newer version.
    """
    if not path.is_file():
        raise BadInput(path, "", None, "no such record; check the path, or paths.state and results.database")
    try:
        connection = read_only(path)
    except sqlite3.Error as error:
        raise _no_record(path, error) from error
    try:
        if not schema_version(connection, path):
            raise BadInput(path, "", None, "is empty; the service has not written into it yet")
    except sqlite3.Error as error:
        connection.close()
        raise _no_record(path, error) from error
    except BadInput:
        connection.close()
        raise
    return connection


def _no_record(path: Path, error: sqlite3.Error) -> BadInput:
    return BadInput(path, "", None, f"cannot be read as a record ({error}); check the path")


class RecordReader:
    """A record that is only read; use as a context manager."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing record; raises what `existing_record` does."""
        return cls(existing_record(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def last_prompts(self, line: str) -> str:
        """Content hash of the prompts that judged the line's last judged part; empty where none was.

        Raises:
            Fault: `record_unreadable`.
        """
        found = self._rows(_LAST_PROMPTS, (line,))
        return str(found[0][0]) if found else ""

    def result(self, line: str, epoch: int, seq: int) -> Result | None:
        """What a part was; None where it has no verdict here.

        Raises:
            Fault: `record_unreadable`.
        """
        found = self._rows(_RESULT, (line, epoch, seq))
        return Result(found[0][0]) if found else None

    def _rows(self, query: str, values: tuple[object, ...]) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise Fault("record_unreadable", str(error)) from error


_LAST_PROMPTS = """
SELECT prompts FROM verdicts INDEXED BY verdicts_of_line
WHERE line = ? AND score IS NOT NULL ORDER BY id DESC LIMIT 1
"""
_RESULT = "SELECT result FROM verdicts WHERE line = ? AND epoch = ? AND seq = ?"
