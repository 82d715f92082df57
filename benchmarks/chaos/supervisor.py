"""What systemd is on a box: starts the services, and starts again whatever has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge.processes import STOP_TIMEOUT_S, log_tail

RESTART_S = 0.5


@dataclass(slots=True)
class Unit:
    """A service under supervision.

    Attributes:
        name: of the unit and its log.
        command: as it is started.
        prefix: of the next start alone, such as one into another time.
        process: the present one, or the last.
        caused: whether its end was somebody's doing.
        stopped: it is not to be started again.
    """

    name: str
    command: tuple[str, ...]
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    caused: bool = False
    stopped: bool = False
    restart_s: float = 0.0
    starts: int = 0
    started_s: float = 0.0

    @property
    def runs(self) -> bool:
        """Whether its process is there, be it stopped by a signal."""
        return self.process is not None and self.process.poll() is None


# systemd reloads what has started; here a reload may come before its handler is there, and would end it.
_NOT_RELOADED_YET = ("env", "--ignore-signal=HUP")


@dataclass(frozen=True, slots=True)
class UncausedEnd:
    """A service that ended by itself: its exit code and the end of its log."""

    unit: str
    code: int
    log: str


# As systemd/alfa-detector@.service has it; it matters where services share few cores.
_OF_THE_UNITS = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(slots=True)
class Supervisor:
    """Restart=always for a few units.

    Attributes:
        directory: for logs; each start's is appended.
        units: by name.
        uncaused: ends that nobody caused.
        started: (unit, CLOCK_MONOTONIC in ns) of every start.
    """

    directory: Path
    units: dict[str, Unit] = field(default_factory=dict)
    uncaused: list[UncausedEnd] = field(default_factory=list)
    started: list[tuple[str, int]] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ | _OF_THE_UNITS)

    def add(self, name: str, *command: str) -> None:
        """Start a unit."""
        self.units[name] = Unit(name, command)
        self._start(self.units[name])

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a unit's processes; one that ends it is a caused end."""
        unit = self.units[name]
        if unit.process is None or not unit.runs:
            return
        unit.caused |= number in (signal.SIGKILL, signal.SIGTERM)
        # A prefix is a process of its own, in the same group; between poll and here it may have gone.
        with suppress(ProcessLookupError):
            os.killpg(unit.process.pid, number)

    def follow(self) -> None:
        """Start what has ended and waited."""
        now = time.monotonic()
        for unit in self.units.values():
            if unit.stopped or unit.runs:
                continue
            if not unit.restart_s:
                self._note_end(unit)
                unit.restart_s = now + RESTART_S
            elif now >= unit.restart_s:
                self._start(unit)

    def stop(self, name: str) -> None:
        """SIGTERM, for good; killed if it does not end in time."""
        unit = self.units[name]
        unit.stopped = True
        if unit.process is None or not unit.runs:
            return
        self.signal(name, signal.SIGTERM)
        try:
            unit.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.signal(name, signal.SIGKILL)
            unit.process.wait()

    def stop_all(self) -> None:
        """As `stop`, last added first; a stopped process is let go on, or it could not end."""
        for name in reversed(self.units):
            self.signal(name, signal.SIGCONT)
            self.stop(name)

    def _start(self, unit: Unit) -> None:
        with self._log(unit).open("ab") as log:
            unit.process = subprocess.Popen(  # noqa: S603
                (*unit.prefix, *_NOT_RELOADED_YET, *unit.command),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,
            )
        unit.prefix, unit.caused, unit.restart_s = (), False, 0.0
        unit.starts += 1
        unit.started_s = time.monotonic()
        self.started.append((unit.name, time.monotonic_ns()))

    def _note_end(self, unit: Unit) -> None:
        if unit.process is not None and not unit.caused:
            self.uncaused.append(UncausedEnd(unit.name, unit.process.returncode, log_tail(self._log(unit))))

    def _log(self, unit: Unit) -> Path:
        return self.directory / f"{unit.name}.log"
