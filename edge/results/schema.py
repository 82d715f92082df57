"""The record's tables, and how an older record becomes one of today.

`user_version` in the file counts the steps of MIGRATIONS that were taken. A step is never changed once it
has been used in a plant; a new one is appended.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alfa.errors import BadInput

# "ALFA": tells our record from any other SQLite file.
APPLICATION_ID = 0x414C4641

_FIRST = """
CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY,
    line TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    part_id TEXT NOT NULL,
    result TEXT NOT NULL CHECK (result IN ('OK', 'NG', 'FAULT')),
    fault TEXT NOT NULL,
    detail TEXT NOT NULL,
    score REAL,
    threshold REAL,
    calibrated INTEGER NOT NULL,
    s_global REAL,
    s_local_max REAL,
    side_was_empty INTEGER NOT NULL,
    region TEXT,
    reasons TEXT NOT NULL,
    prompts TEXT NOT NULL,
    bank TEXT NOT NULL,
    model TEXT NOT NULL,
    calibration TEXT NOT NULL,
    recipe INTEGER NOT NULL,
    timings TEXT NOT NULL,
    captured_wall_ns INTEGER NOT NULL,
    captured_mono_ns INTEGER NOT NULL,
    published_wall_ns INTEGER NOT NULL,
    judged_by TEXT NOT NULL,
    recorded_wall_ns INTEGER NOT NULL,
    UNIQUE (line, epoch, seq)
) STRICT;
CREATE TRIGGER verdicts_are_never_changed BEFORE UPDATE ON verdicts
BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TABLE epochs (
    line TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    captured INTEGER NOT NULL,
    opened_wall_ns INTEGER NOT NULL,
    PRIMARY KEY (line, epoch)
) STRICT;
CREATE TABLE alarms (
    id INTEGER PRIMARY KEY,
    line TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('NG', 'FAULT')),
    code INTEGER NOT NULL,
    epoch INTEGER,
    seq INTEGER,
    detail TEXT NOT NULL,
    raised_wall_ns INTEGER NOT NULL,
    acknowledged_wall_ns INTEGER
) STRICT;
CREATE INDEX alarms_open ON alarms (line, kind, id) WHERE acknowledged_wall_ns IS NULL;
"""

# For a restart among millions of verdicts: the last ones of a line, and below which seq nothing is owed.
_SECOND = """
CREATE INDEX verdicts_of_line ON verdicts (line);
ALTER TABLE epochs ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
"""

# For what is old: whether somebody still has to acknowledge the part.
_THIRD = """
CREATE INDEX alarms_open_parts ON alarms (line, epoch, seq) WHERE acknowledged_wall_ns IS NULL;
"""

MIGRATIONS = (_FIRST, _SECOND, _THIRD)
SCHEMA_VERSION = len(MIGRATIONS)


def schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """Schema version of the file, 0 for an empty one.

    Raises:
        BadInput: another program's file, or a newer version of this one.
    """
    with closing(connection.cursor()) as cursor:
        version: int = cursor.execute("PRAGMA user_version").fetchone()[0]
        owner: int = cursor.execute("PRAGMA application_id").fetchone()[0]
        tables: int = cursor.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and owner != APPLICATION_ID:
        raise BadInput(path, "", None, "is another program's database; name another file in results.database")
    if version > SCHEMA_VERSION:
        raise BadInput(
            path,
            "user_version",
            version,
            f"was written by a newer version of this program (this one reads up to {SCHEMA_VERSION}); "
            "update the program or name another file in results.database",
        )
    return version
