"""The record read by another program: rows as they are passed on, in pieces, while the service writes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from alfa.errors import BadInput, Fault
from edge.results.reader import existing_record

# What a CSV has of each verdict, in this order (docs/record.md says what each is).
COLUMNS = (
    "line",
    "epoch",
    "seq",
    "part_id",
    "result",
    "fault",
    "detail",
    "score",
    "threshold",
    "calibrated",
    "s_global",
    "s_local_max",
    "side_was_empty",
    "region",
    "reasons",
    "recipe",
    "prompts",
    "bank",
    "calibration",
    "model",
    "timings",
    "judged_by",
    "captured_at",
    "published_at",
    "recorded_at",
)
# A text that begins so is a formula to a spreadsheet, and a part id comes from whoever triggers the camera
# (OWASP, "CSV Injection"; U+FF.. are the wide forms of = + - @).
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_IS_TEXT = "'"
SUMMARY = ("line", "result", "fault", "parts", "first", "last")

Row: TypeAlias = tuple[Any, ...]

# A long read would keep the log beside the file from being emptied, and the disk would fill: a piece each.
_ROWS_A_READ = 1000
_LATEST_NS = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = COLUMNS[:-3]
_VERDICTS = f"""
SELECT id, {", ".join(_PLAIN)}, captured_wall_ns, published_wall_ns, recorded_wall_ns FROM verdicts
WHERE id > ? AND recorded_wall_ns >= ? ORDER BY id LIMIT {_ROWS_A_READ}
"""  # noqa: S608 - names of our own columns
_SUMMARY = """
SELECT line, result, fault, count(*), min(recorded_wall_ns), max(recorded_wall_ns) FROM verdicts
WHERE recorded_wall_ns >= ? GROUP BY line, result, fault ORDER BY line, result, fault
"""


def since_ns(text: str) -> int:
    """An ISO 8601 date or time as nanoseconds since 1970; without an offset it is this machine's own time.

    Raises:
        BadInput: it is none.
    """
    try:
        seconds = int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError) as error:
        advice = "give an ISO 8601 date or time, such as 2026-03-01 or 2026-03-01T06:00:00Z"
        raise BadInput("--since", "", text, advice) from error
    # The record holds no time before 1970, and none that SQLite cannot hold.
    return min(max(seconds, 0) * 10**9, _LATEST_NS)


def verdicts(path: Path, since_ns: int) -> Iterator[Row]:
    """Every verdict recorded since then, in the order of recording, as `COLUMNS` names its values.

    Raises:
        BadInput: the file is no record of this program, or of a newer version.
        Fault: `record_failed`, it cannot be read any more.
    """
    with _opened(path) as connection:
        last = 0
        while page := connection.execute(_VERDICTS, (last, since_ns)).fetchall():
            yield from ((*plain, *map(_time, times)) for plain, times in map(_split, page))
            last = page[-1][0]


def summary(path: Path, since_ns: int) -> list[Row]:
    """How many parts ended how, as `SUMMARY` names the values; raises what `verdicts` does."""
    with _opened(path) as connection:
        found = connection.execute(_SUMMARY, (since_ns,)).fetchall()
    return [(*counts, _time(first), _time(last)) for *counts, first, last in found]


def in_spreadsheet(row: Row) -> Row:
    """The row with a `'` before each text that a spreadsheet would run; numbers stay.

    A text that begins with `'` gets another: to have what was recorded, take one away wherever one leads.
    """
    return tuple(_as_text(value) if isinstance(value, str) else value for value in row)


def _as_text(value: str) -> str:
    return _IS_TEXT + value if value.startswith((*_FORMULA_SIGNS, _IS_TEXT)) else value


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(existing_record(path)) as connection:
        try:
            yield connection
        except sqlite3.DatabaseError as error:
            raise Fault("record_failed", f"{path} cannot be read: {error}") from error


def _split(row: Row) -> tuple[Row, Row]:
    """The plain values of a row, and its three times."""
    return row[1:-3], row[-3:]


def _time(wall_ns: int) -> str:
    """ISO 8601 in UTC, to the millisecond; empty where the time is not known."""
    if not wall_ns:
        return ""
    moment = _EPOCH + timedelta(microseconds=wall_ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
