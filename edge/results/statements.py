"""The SQL of the record, and a verdict as the values of its row."""

from __future__ import annotations

import dataclasses
import json
import operator
from collections.abc import Collection
from typing import Any

from edge.messages import Reason, Region, Timings, Verdict
from edge.results.alarm import AlarmEvent


def verdict_row(verdict: Verdict, now_ns: int) -> tuple[Any, ...]:
    """Values in the order of `_VERDICT_COLUMNS`; by name, because `asdict` copies each value deeply."""
    return (
        *_plain_values(verdict),
        None if verdict.region is None else _json(_named(verdict.region)),
        _json([_named(reason) for reason in verdict.reasons]),
        _json(_named(verdict.timings)),
        now_ns,
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
INSERT_VERDICT = _insert("verdicts", _VERDICT_COLUMNS, "ON CONFLICT (line, epoch, seq) DO NOTHING")
_ALARM_COLUMNS = [field.name for field in dataclasses.fields(AlarmEvent)]
INSERT_ALARM = _insert("alarms", _ALARM_COLUMNS)
UPSERT_EPOCH = """
INSERT INTO epochs (line, epoch, captured, settled, opened_wall_ns) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (line, epoch) DO UPDATE SET
    captured = max(captured, excluded.captured), settled = max(settled, excluded.settled)
"""
ACKNOWLEDGE = """
UPDATE alarms SET acknowledged_wall_ns = ? WHERE id IN (
    SELECT id FROM alarms WHERE line = ? AND kind = ? AND acknowledged_wall_ns IS NULL ORDER BY id LIMIT ?)
"""
# With a bare max(), SQLite gives the other columns of the row that has it.
OPEN_ALARMS = """
SELECT count(*), code, max(id) FROM alarms WHERE line = ? AND kind = ? AND acknowledged_wall_ns IS NULL
"""
# Consecutive seqs have the same difference to their row number.
ISLANDS = """
SELECT min(seq), max(seq) FROM (
    SELECT seq, seq - row_number() OVER (ORDER BY seq) AS island FROM verdicts
    WHERE line = ? AND epoch = ? AND seq >= ?)
GROUP BY island ORDER BY 1
"""
# The unique index of (line, epoch, seq) would be chosen, and everything sorted.
LAST_RESULTS = """
SELECT result FROM verdicts INDEXED BY verdicts_of_line WHERE line = ? ORDER BY id DESC LIMIT ?
"""
EPOCHS = "SELECT epoch, captured FROM epochs WHERE line = ? ORDER BY rowid DESC LIMIT ?"
VERDICTS_BY_AGE = "SELECT id, recorded_wall_ns FROM verdicts WHERE id > ? ORDER BY id LIMIT ?"
ALARMS_BY_AGE = "SELECT id, raised_wall_ns FROM alarms WHERE id > ? ORDER BY id LIMIT ?"
# No camera start that far back is resumed: nothing of it is owed, recorded or not.
CLOSE_EPOCHS = """
UPDATE epochs SET settled = captured WHERE settled < captured AND opened_wall_ns < ? AND ? <= (
    SELECT count(*) FROM epochs AS later WHERE later.line = epochs.line AND later.rowid > epochs.rowid)
"""
# A part that is not settled would be taken for one without a verdict, and recorded a second time.
DELETE_VERDICTS = """
DELETE FROM verdicts WHERE id > ? AND id <= ?
AND seq < (SELECT settled FROM epochs WHERE line = verdicts.line AND epoch = verdicts.epoch)
AND NOT EXISTS (SELECT 1 FROM alarms WHERE line = verdicts.line AND epoch = verdicts.epoch
    AND seq = verdicts.seq AND acknowledged_wall_ns IS NULL)
"""
DELETE_ALARMS = "DELETE FROM alarms WHERE id > ? AND id <= ? AND acknowledged_wall_ns < ?"
ALARM_IS_OPEN = """
SELECT 1 FROM alarms WHERE line = ? AND epoch = ? AND seq = ? AND acknowledged_wall_ns IS NULL
"""
