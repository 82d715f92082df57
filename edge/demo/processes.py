"""The processes of the demo as one table, and how they are started, watched and stopped."""

from __future__ import annotations

import signal
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


def line_processes(config: Path, line: str, plc_port: int) -> tuple[ProcessSpec, ...]:
    """The whole system on a page, in the order of starting; the camera comes last and finds all listening."""
    return (
        ProcessSpec("plc", (sys.executable, "-m", "edge.plc.simulator", "--port", str(plc_port))),
        ProcessSpec("results", (script("edge-results"), "--config", str(config))),
        ProcessSpec("detector", (script("edge-detector"), "--config", str(config), "--name", "main")),
        ProcessSpec(
            "camera",
            (script("edge-camera"), "--config", str(config), "--line", line, "--wait-for-detector"),
        ),
    )


def script(name: str) -> str:
    """The console script of this installation, whether or not its directory is on PATH."""
    return str(Path(sys.executable).with_name(name))


def run_command(name: str, command: tuple[str, ...], log_directory: Path) -> None:
    """Run one preparing command to its end.

    Raises:
        Fault: it ended with another exit code than 0; the end of its output is in the message.
    """
    log = log_directory / f"{name}.log"
    with log.open("wb") as stream:
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode  # noqa: S603
    if code != 0:
        raise Fault("demo_command_failed", f"{' '.join(command)} ended with {code}:\n{_tail(log)}")


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

    def check(self) -> None:
        """All that was started must still run.

        Raises:
            Fault: one has ended; the end of its log is in the message.
        """
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                tail = _tail(self._log_path(name))
                raise Fault("demo_process_ended", f"{name} ended with exit code {code}:\n{tail}")

    def stop_all(self) -> dict[str, int]:
        """SIGTERM, last started first, each waited for; gives the exit codes. Kills what does not stop."""
        codes: dict[str, int] = {}
        for name, process in reversed(self._running.items()):
            process.send_signal(signal.SIGTERM)
            try:
                codes[name] = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        self._running.clear()
        for log in self._logs:
            log.close()
        self._logs.clear()
        return codes

    def _log_path(self, name: str) -> Path:
        return self.log_directory / f"{name}.log"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES_SHOWN:])
