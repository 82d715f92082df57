"""The record's file, opened for writing: made, brought to today's schema, or refused by what is wrong."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from alfa.errors import BadInput, Fault
from edge.results.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, schema_version

_BUSY_S = 0.2
# Of SQLite's virtual machine: some milliseconds each, so that only what takes long is told of.
_STEPS_OF_A_LONG_CALL = 100_000
# A disk that is full or fails, and another program that holds the file: what may pass by itself.
_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY}
_PASSING_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
# Of an extended error code.
_PRIMARY_CODE = 0xFF


def open_record(path: Path, goes_on: Callable[[], None]) -> sqlite3.Connection:
    """The record of this file, of today's schema; made, with its directory, where there is none.

    Args:
        path: of the file.
        goes_on: called now and then while a call takes long.

    Raises:
        Fault: `record_failed`, the disk is full or fails at this moment.
        BadInput: not writable, not a record, or made by a newer version; the file is unchanged.
    """
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


def failed(error: Exception) -> Fault:
    """What passes by itself, or with a person's help, without other settings."""
    return Fault("record_failed", str(error))


def _cannot_be_opened(path: Path, error: OSError | sqlite3.Error) -> Fault | BadInput:
    if _may_pass(error) or _is_on_read_only_disk(path):
        return failed(error)
    return BadInput(
        path, "", None, f"the record cannot be opened ({error}); check paths.state and results.database"
    )


def _may_pass(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in _PASSING_ERRNO
    return primary_code(error) in _PASSING


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's code without its extension; 0 for Python's own complaints, which have none."""
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
