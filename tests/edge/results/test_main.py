"""`edge-results` as a process: how it ends, its one line when it cannot start, and the register map."""

from __future__ import annotations

import csv
import io
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.messages import Beat, FaultCode, Part, ServiceState, decode_beat
from edge.plc.registers import CONTROL_FIELDS, FIELDS, PROTOCOL
from edge.results.schema import APPLICATION_ID
from edge.settings import load_settings
from edge.sockets import Sockets

if TYPE_CHECKING:
    from tests.edge.conftest import StandInPlc

COMMAND = [sys.executable, "-m", "edge.results.main"]
LINE = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'


def make_database(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


@contextmanager
def results(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running service; killed at the end if it still runs."""
    command = [*COMMAND, "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def outcome(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that ends by itself."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=30, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def next_beat(receive_within: Callable[..., list[Part]]) -> Iterator[Callable[[Path], Beat]]:
    """`next_beat(config)` is the next beat of the service."""
    with Sockets() as sockets:

        def receive_one(config: Path) -> Beat:
            listener = sockets.subscriber([load_settings(config).results_endpoint()], [b"beat/"], 100)
            return decode_beat(receive_within(listener, 20))

        yield receive_one


def test_nobody_listens_where_the_plc_should_be(
    write_config: Callable[..., Path], next_beat: Callable[[Path], Beat]
) -> None:
    """The service runs, says so in its beat, goes on trying, and SIGTERM still ends it with 0."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        config = write_config(f"[plc]\nport = {unused.getsockname()[1]}\n{LINE}")
        with results(config) as process:
            beat = next_beat(config)
            while "no connection to" not in beat.last_error:
                beat = next_beat(config)
            assert beat.state is ServiceState.STARTING
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


def test_sigterm_leaves_the_safe_state(write_config: Callable[..., Path], plc: StandInPlc) -> None:
    """The PLC's last image, and exit code 0."""
    config = write_config(plc.table + LINE)
    with results(config) as process:
        plc.wait_for(lambda image: image.heartbeat > 3, seconds=20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    image = plc.image()
    assert (image.protocol, image.ready, image.result_ok, image.fault) == (PROTOCOL, False, False, True)
    assert image.fault_code in (FaultCode.RESULTS_LOST, FaultCode.DETECTOR_LOST)


def test_heartbeat_stops_with_the_process(write_config: Callable[..., Path], plc: StandInPlc) -> None:
    """Frozen by SIGSTOP it cannot say anything: the PLC sees that in the heartbeat."""
    config = write_config(plc.table + LINE)
    with results(config) as process:
        plc.wait_for(lambda image: image.heartbeat > 3, seconds=20)
        process.send_signal(signal.SIGSTOP)
        # What was under way when it froze has arrived when two looks are the same.
        before = plc.image()
        while (now := plc.image()) != before:
            before = now
        written = len(plc.history())
        for _ in range(50):
            assert plc.image().heartbeat == now.heartbeat
        assert len(plc.history()) == written
        process.send_signal(signal.SIGCONT)
        plc.wait_for(lambda image: image.heartbeat != now.heartbeat)


NEWER = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99; CREATE TABLE verdicts (id);"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: make_database(path, NEWER), ": user_version = 99: "),
        (lambda path: make_database(path, "CREATE TABLE songs (title);"), ": is another program's database"),
        (lambda path: path.write_bytes(b"no database" * 500), ": the record cannot be opened "),
    ],
    ids=["newer", "foreign", "corrupt"],
)
def test_record_that_is_none_is_refused(
    write_config: Callable[..., Path], make: Callable[[Path], object], told: str
) -> None:
    """One line with the file and what is wrong, exit 2, and the file is as it was: no room would mend it."""
    config = write_config(LINE)
    database = config.parent / "var" / "results.sqlite"
    database.parent.mkdir()
    make(database)
    before = database.read_bytes()
    code, _, stderr = outcome("--config", str(config))
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"error: {database}{told}" in stderr
    assert (database.read_bytes(), list(database.parent.iterdir())) == (before, [database])


def test_file_in_place_of_the_evidence(write_config: Callable[..., Path]) -> None:
    """Told at the start and not at the first picture: one line, exit 2, no record made."""
    config = write_config(LINE)
    evidence = config.parent / "var" / "evidence"
    evidence.parent.mkdir()
    evidence.write_text("a file in its place")
    code, _, stderr = outcome("--config", str(config))
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"error: {evidence}: is no directory" in stderr
    assert list(evidence.parent.iterdir()) == [evidence]


def test_record_is_not_touched_where_the_endpoint_is_in_use(write_config: Callable[..., Path]) -> None:
    """It may be the other service's, and of an older schema."""
    config = write_config(LINE)
    settings = load_settings(config)
    with Sockets() as sockets:
        sockets.publisher(settings.results_endpoint(), 100)
        code, _, stderr = outcome("--config", str(config))
    assert (code, "endpoint_in_use" in stderr) == (3, True)
    assert not settings.paths.state.exists()


def test_unwritable_state_directory(write_config: Callable[..., Path]) -> None:
    """One line, exit 2."""
    config = write_config(LINE)
    (config.parent / "var").write_text("a file in its place")
    code, _, stderr = outcome("--config", str(config))
    assert code == 2
    assert stderr.count("\n") == 1
    assert "check paths.state" in stderr


def test_second_service_is_refused(
    write_config: Callable[..., Path], next_beat: Callable[[Path], Beat]
) -> None:
    """Two writers of one record would be two truths: one line, exit 3."""
    config = write_config(LINE)
    with results(config):
        next_beat(config)
        code, _, stderr = outcome("--config", str(config))
    assert code == 3
    assert stderr.splitlines()[-1].startswith("error: endpoint_in_use: ")


def test_missing_config(tmp_path: Path) -> None:
    """One line, exit 2."""
    code, _, stderr = outcome("--config", str(tmp_path / "none.toml"))
    assert (code, stderr.count("\n")) == (2, 1)
    assert "none.toml" in stderr


def test_map_as_csv(write_config: Callable[..., Path]) -> None:
    """One row a field and line, at the addresses of the file."""
    second = LINE.replace("[lines.line1]", "[lines.line2]\nindex = 2")
    config = write_config("[plc]\nbase = 100\n" + LINE + second)
    code, stdout, _ = outcome("plc-map", "--csv", "--config", str(config))
    assert code == 0
    assert stdout.splitlines()[0] == "line,address,reference,register,name,bits,written_by,meaning"
    rows = list(csv.DictReader(io.StringIO(stdout)))
    assert len(rows) == 2 * (len(FIELDS) + len(CONTROL_FIELDS))
    places = {(row["line"], row["name"]): row["address"] for row in rows}
    assert places[("line1", "heartbeat")] == "101"
    assert places[("line2", "heartbeat")] == "165"
    assert places[("line2", "acknowledge")] == "1164"


def test_map_as_table() -> None:
    """For a person; without a file the line at base 0."""
    code, stdout, _ = outcome("plc-map")
    assert code == 0
    assert all(field.name in stdout for field in (*FIELDS, *CONTROL_FIELDS))


def test_map_without_a_plc(write_config: Callable[..., Path]) -> None:
    """A file that drives no PLC has no registers."""
    code, _, stderr = outcome("plc-map", "--config", str(write_config(LINE)))
    assert code == 2
    assert "plc: there is no [plc] table" in stderr
