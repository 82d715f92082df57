"""A full disk, or a read-only one: the service starts all the same, says so on the PLC, and goes on later."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alfa.errors import BadInput, Fault
from edge.messages import Beat, FaultCode, Part, ServiceState, Verdict, decode_beat
from edge.results.evidence import EvidenceStore, evidence_path
from edge.results.record import Record
from edge.settings import load_settings
from edge.sockets import Sockets

if TYPE_CHECKING:
    from tests.edge.conftest import StandInPlc

LINE = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'
NO_ROOM = (0, resource.RLIM_INFINITY)
ROOM = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@contextmanager
def results(config: Path, full: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A running service; `full`: it may write no file, as on a full disk (sockets and pipes are none)."""
    command = [sys.executable, "-m", "edge.results.main", "--config", str(config)]
    limit = NO_ROOM if full else ROOM
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def beat_until(receive_within: Callable[..., list[Part]]) -> Iterator[Callable[..., Beat]]:
    """`beat_until(config, holds)` is the first beat of the service for which something holds."""
    with Sockets() as sockets:

        def listen(config: Path, holds: Callable[[Beat], object]) -> Beat:
            listener = sockets.subscriber([load_settings(config).results_endpoint()], [b"beat/"], 100)
            deadline = time.monotonic() + 30
            while not holds(beat := decode_beat(receive_within(listener, 20))):
                assert time.monotonic() < deadline, f"last heard: {beat}"
            return beat

        yield listen


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that holds a megabyte."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small tmpfs can be mounted here (root needed): {getattr(error, 'stderr', error)}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Leave no byte free; gives the file to delete."""
    filler = directory / "filler"
    with filler.open("ab", buffering=0) as file:
        for block in (bytes(4096), b"0"):
            try:
                while file.write(block):
                    pass
            except OSError:
                continue
    return filler


def failed(beat: Beat) -> bool:
    return (beat.state, beat.last_error) == (ServiceState.FAULT, "record_failed")


def recorded_alarms(database: Path) -> list[int]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return [code for (code,) in connection.execute("SELECT code FROM alarms ORDER BY id")]


def crashed_record(database: Path, verdict: Verdict) -> None:
    """A record whose last writer was killed: what it wrote last lies in the log beside the file."""
    work = database.parent / "work.sqlite"
    record = Record.open(work)
    record.append([verdict])
    for suffix in ("", "-wal"):
        shutil.copy(f"{work}{suffix}", f"{database}{suffix}")
    record.close()


@pytest.mark.parametrize("exists", [False, True], ids=["new", "after a crash"])
def test_start_on_a_disk_that_takes_nothing(
    write_config: Callable[..., Path],
    beat_until: Callable[..., Beat],
    plc: StandInPlc,
    make_verdict: Callable[..., Verdict],
    exists: bool,
) -> None:
    """No crash loop: the safe state with its code, and the record works as soon as the disk does."""
    config = write_config(plc.table + LINE)
    database = load_settings(config).database
    if exists:
        database.parent.mkdir()
        crashed_record(database, make_verdict(0))
    with results(config, full=True) as process:
        beat_until(config, failed)
        image = plc.wait_for(lambda image: image.fault_code == FaultCode.RECORD_FAILED)
        assert (image.ready, image.result_ok, image.fault) == (False, False, True)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, ROOM)
        beat_until(config, lambda beat: beat.last_error != "record_failed")
        assert process.poll() is None
    assert recorded_alarms(database) == [FaultCode.RECORD_FAILED]
    reopened = Record.open(database)
    assert reopened.recorded("line1", 7) == ([range(1)] if exists else [])
    reopened.close()


def test_disk_without_a_byte_left(
    write_config: Callable[..., Path], beat_until: Callable[..., Beat], small_disk: Path
) -> None:
    """A full file system at the start, with an alarm that waits to be recorded until there is room."""
    filler = fill(small_disk)
    config = write_config(f'[paths]\nstate = "{small_disk / "state"}"\n{LINE}')
    with results(config) as process:
        beat_until(config, failed)
        filler.unlink()
        beat_until(config, lambda beat: beat.last_error != "record_failed")
        assert process.poll() is None
    assert recorded_alarms(small_disk / "state" / "results.sqlite") == [FaultCode.RECORD_FAILED]


def test_disk_that_fills_up(small_disk: Path, make_verdict: Callable[..., Verdict]) -> None:
    """What was recorded stays, what finds no room is told by name, and then it goes on."""
    record = Record.open(small_disk / "results.sqlite")
    record.append([make_verdict(0)])
    filler = fill(small_disk)
    too_much = [make_verdict(seq, detail="x" * 1000) for seq in range(1, 2000)]
    with pytest.raises(Fault, match="record_failed: database or disk is full"):
        record.append(too_much)
    filler.unlink()
    record.append([make_verdict(1)])
    assert record.recorded("line1", 7) == [range(2)]
    record.close()


def remount(directory: Path, mode: str) -> None:
    """As `ro` or `rw`; the former needs that no file is open for writing."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(directory)], check=True)


@pytest.mark.parametrize("crashed", [False, True], ids=["closed", "after a crash"])
def test_disk_that_becomes_read_only(
    small_disk: Path, make_verdict: Callable[..., Verdict], crashed: bool
) -> None:
    """A fault each time, whether or not SQLite can still open the file for reading, and then it goes on."""
    database, copy = small_disk / "results.sqlite", small_disk / "copy"
    record = Record.open(database)
    record.append([make_verdict(0)])
    if crashed:
        copy.mkdir()
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{database}{suffix}", copy)
        record.close()
        record = Record(copy / database.name)
    record.close()
    remount(small_disk, "ro")
    for _ in range(2):
        with pytest.raises(Fault, match="record_failed"):
            record.append([make_verdict(1)])
    remount(small_disk, "rw")
    record.append([make_verdict(1)])
    assert record.recorded("line1", 7) == [range(2)]
    record.close()


def test_read_only_disk_without_a_record_is_bad_input(small_disk: Path) -> None:
    """Nothing was ever recorded there: the path is wrong."""
    remount(small_disk, "ro")
    with pytest.raises(BadInput, match=r"check paths\.state"):
        Record.open(small_disk / "state" / "results.sqlite")


def test_pictures_on_a_read_only_disk_count_until_they_are_deleted(small_disk: Path) -> None:
    """They take their room all the while, and go when they can."""
    old = [evidence_path(small_disk, "line1", 7, seq, "jpg") for seq in range(3)]
    old[0].parent.mkdir(parents=True)
    for path in old:
        path.write_bytes(b"jpeg")
    remount(small_disk, "ro")
    store = EvidenceStore(small_disk, most_bytes=0, most_s=1e9)
    with pytest.raises(OSError, match="Read-only"):
        store.prune(0)
    remount(small_disk, "rw")
    store.prune(0)
    assert [path.exists() for path in old] == [False, False, True]


def test_start_on_a_disk_that_became_read_only(
    write_config: Callable[..., Path],
    beat_until: Callable[..., Beat],
    small_disk: Path,
    make_verdict: Callable[..., Verdict],
) -> None:
    """No exit and no crash loop: FAULT, and it records as soon as the disk can be written again."""
    config = write_config(f'[paths]\nstate = "{small_disk / "state"}"\n{LINE}')
    unfinished = small_disk / "state/evidence/line1/7/.cut-off"
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    Record.open(small_disk / "state/results.sqlite").close()
    remount(small_disk, "ro")
    with results(config) as process:
        beat_until(config, failed)
        remount(small_disk, "rw")
        beat_until(config, lambda beat: beat.last_error != "record_failed")
        assert process.poll() is None
    assert recorded_alarms(small_disk / "state" / "results.sqlite") == [FaultCode.RECORD_FAILED]


@pytest.mark.parametrize("content", [b"no database" * 500, b""], ids=["foreign", "truncated"])
def test_corrupt_file_is_bad_input(
    tmp_path: Path, make_verdict: Callable[..., Verdict], content: bytes
) -> None:
    """No room will mend it: refused, and left byte for byte for whoever wants to save something of it."""
    database = tmp_path / "results.sqlite"
    record = Record.open(database)
    record.append([make_verdict(seq) for seq in range(500)])
    record.close()
    database.write_bytes(content or database.read_bytes()[:5000])
    before = database.read_bytes()
    with pytest.raises(BadInput, match=r"results.sqlite: the record cannot be opened"):
        Record.open(database)
    assert (database.read_bytes(), list(tmp_path.iterdir())) == (before, [database])
