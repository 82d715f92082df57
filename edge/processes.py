"""Processes of the line as somebody beside it starts, watches and stops them: demo and benchmarks."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from alfa.errors import Fault

STOP_TIMEOUT_S = 15.0
_LOG_LINES_SHOWN = 15


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process: its name in logs and messages, and its command."""

    name: str
    command: tuple[str, ...]


def script(name: str) -> str:
    """The console script of this installation, whether or not its directory is on PATH."""
    return str(Path(sys.executable).with_name(name))


def free_port() -> int:
    """A TCP port of this machine that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Processes:
    """Running processes by name; leaving the `with` block stops all that still run."""

    log_directory: Path
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _logs: list[IO[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def start(self, spec: ProcessSpec) -> None:
        """Start a process with its output in `{name}.log`."""
        log = self._log_path(spec.name).open("wb")
        self._logs.append(log)
        self._running[spec.name] = subprocess.Popen(  # noqa: S603
            spec.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )

    @property
    def ids(self) -> dict[str, int]:
        """Process ids by name, in the order of starting."""
        return {name: process.pid for name, process in self._running.items()}

    def check(self) -> None:
        """All that was started must still run.

        Raises:
            Fault: one has ended; the end of its log is in the message.
        """
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                tail = log_tail(self._log_path(name))
                raise Fault("process_ended", f"{name} ended with exit code {code}:\n{tail}")

    def stop(self, name: str) -> int:
        """SIGTERM to one, and wait; gives its exit code. Killed if it does not stop."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def stop_all(self) -> dict[str, int]:
        """SIGTERM, last started first, each waited for; gives the exit codes. Kills what does not stop."""
        codes = {name: self.stop(name) for name in reversed(list(self._running))}
        for log in self._logs:
            log.close()
        self._logs.clear()
        return codes

    def _log_path(self, name: str) -> Path:
        return self.log_directory / f"{name}.log"


def log_tail(log: Path) -> str:
    """The last lines of a log, indented, for an error message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES_SHOWN:])
