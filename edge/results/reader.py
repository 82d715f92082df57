"""Looking into the record beside the service that writes it: read-only, and the writer never waits."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alfa.errors import BadInput, Fault
from edge.messages import Result
from edge.results.schema import APPLICATION_ID

_BUSY_S = 5.0


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing and makes no file.

    Raises:
        sqlite3.Error: there is no such file, or it cannot be opened.
    """
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)


class RecordReader:
    """A record that is only read; use as a context manager."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing record.

        Raises:
            BadInput: there is no such file, or it is no record.
        """
        if not path.is_file():
            raise BadInput(path, "", None, "no such record; check the path, or paths.state")
        try:
            connection = read_only(path)
            owner: int = connection.execute("PRAGMA application_id").fetchone()[0]
        except sqlite3.Error as error:
            raise BadInput(path, "", None, f"cannot be read as a record: {error}") from error
        if owner != APPLICATION_ID:
            connection.close()
            raise BadInput(path, "", None, "is no record of this product; check the path")
        return cls(connection)

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
