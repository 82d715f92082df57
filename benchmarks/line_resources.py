"""What a process of the line holds at one moment, as the kernel tells (Linux)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alfa.errors import Fault

_KIB_PER_MB = 1024


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one process.

    Attributes:
        rss_mb: resident memory, in MiB.
        threads: of the process.
        files: open file descriptors, sockets among them.
    """

    rss_mb: float
    threads: int
    files: int


def resources_of(pid: int) -> Resources:
    """What a running process holds now.

    Raises:
        Fault: there is no such process, or it belongs to somebody else.
    """
    home = Path("/proc") / str(pid)
    try:
        lines = (home / "status").read_text(encoding="utf-8").splitlines()
        files = sum(1 for _ in (home / "fd").iterdir())
        status = dict(line.split(":", 1) for line in lines)
        return Resources(int(status["VmRSS"].split()[0]) / _KIB_PER_MB, int(status["Threads"]), files)
    except (OSError, KeyError) as error:
        raise Fault("benchmark_failed", f"process {pid} cannot be looked at: {error!r}") from error
