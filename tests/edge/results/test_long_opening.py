"""systemd waits for a record that takes long to open."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from edge.lifecycle import Lifecycle
from edge.results.schema import APPLICATION_ID, MIGRATIONS
from edge.results.service import ResultsService
from edge.settings import load_settings
from edge.sockets import Sockets

ROWS = 60_000


def old_record(database: Path) -> None:
    """Of the first version: an index over all its rows is yet to be made."""
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
            f"WITH RECURSIVE parts (seq) AS (SELECT 0 UNION ALL SELECT seq + 1 FROM parts LIMIT {ROWS})"
            "INSERT INTO verdicts SELECT NULL, 'line1', 7, seq, '', 'OK', '', '', 0.1, 0.5, 1, 0, 0, 0, NULL,"
            " '[]', '', '', '', '', 1, '{}', 1, 1, 1, 'main', 1 FROM parts;"
        )


# With systemd there, sdnotify leaves closing its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_systemd_is_told_that_an_older_record_is_taken_over(
    systemd: socket.socket, write_config: Callable[..., Path]
) -> None:
    """Before READY: the start is not ended by TimeoutStartSec while the file is worked on."""
    settings = load_settings(write_config())
    old_record(settings.database)
    lifecycle = Lifecycle()
    lifecycle.stop()
    with Sockets() as sockets:
        ResultsService(settings, lifecycle, sockets, structlog.stdlib.get_logger()).run()
    told = systemd.recv(4096).decode()
    assert told == f"STATUS=opening {settings.database}"
    assert systemd.recv(4096) == b"EXTEND_TIMEOUT_USEC=300000000"
    while b"READY=1" not in systemd.recv(4096):
        pass
