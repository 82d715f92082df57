"""Directories: may this user write them, is there room, and does nobody else get in?"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge.check.findings import Check, Finding
from edge.settings import Settings

_MB = 1_000_000
# A verdict takes about a kilobyte in the record: a day of ten parts a second.
_LITTLE_FOR_RECORD_MB = 1000
_TOO_LITTLE_MB = 50
_OWNER = "give the directory to the services' user: chown alfa:alfa"
_ROOM = "free space, move paths.state to a larger disk, or lower results.evidence_max_mb"


def check_storage(config: Path, settings: Settings) -> Iterator[Finding]:
    """Record, evidence, shared frames and sockets; and who may change config.toml."""
    evidence = settings.paths.state / settings.results.evidence
    yield _check_config(config)
    yield _check_writable("state", settings.paths.state)
    yield _check_room("record", settings.database.parent, _LITTLE_FOR_RECORD_MB)
    yield _check_room("evidence", evidence, settings.results.evidence_max_mb - _held_mb(evidence))
    yield _check_runtime(settings.paths.runtime)
    if any(line.shared_frames for line in settings.lines.values()):
        yield _check_writable("frames", settings.paths.frames)
        wanted = sum(line.frame_buffer_mb for line in settings.lines.values() if line.shared_frames)
        yield _check_room("frames", settings.paths.frames, wanted)


def _check_config(config: Path) -> Finding:
    check = Check("config", str(config))
    if config.stat().st_mode & stat.S_IWOTH:
        return check.fail("everybody on this machine may change it", f"chmod o-w {config}")
    if os.geteuid() == 0:
        advice = "run as the services' user to see what they may do: sudo -u alfa edge-check ..."
        return check.warn("readable; root may read and write everything", advice)
    return check.ok("valid, readable, not for everybody to change")


def _check_runtime(directory: Path) -> Finding:
    """Whoever reaches the sockets may publish frames and verdicts."""
    check = Check("runtime", str(directory))
    if directory.is_dir() and stat.S_IMODE(directory.stat().st_mode) & stat.S_IRWXO:
        return check.fail("open to every user of this machine", f"chmod 0750 {directory}")
    return _check_writable("runtime", directory)


def _check_writable(name: str, directory: Path) -> Finding:
    check = Check(name, str(directory))

    def write() -> Finding:
        nearest = _nearest(directory)
        if not nearest.is_dir():
            return check.fail(f"{nearest} is no directory", "move it, or name another path")
        with tempfile.TemporaryFile(dir=nearest):
            pass
        return check.ok("writable" if nearest == directory else "will be made at the first start")

    return check.tried(write, _OWNER)


def _check_room(name: str, directory: Path, wanted_mb: int) -> Finding:
    check = Check(f"{name} space", str(directory))

    def look() -> Finding:
        free_mb = shutil.disk_usage(_nearest(directory)).free // _MB
        if free_mb < _TOO_LITTLE_MB:
            return check.fail(f"{free_mb} MB free", _ROOM)
        if free_mb < wanted_mb:
            return check.warn(f"{free_mb} MB free, up to {wanted_mb} MB will be used", _ROOM)
        return check.ok(f"{free_mb} MB free")

    return check.tried(look, _ROOM)


def _held_mb(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*/*/*") if path.is_file()) // _MB


def _nearest(directory: Path) -> Path:
    """The directory, or the one above it that is there."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory
