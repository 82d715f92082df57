"""What every service does alike: logging, signals, systemd, and the heartbeat.

The heartbeat and the watchdog are driven by the work loop itself: a loop that hangs falls silent, and
silence is an alarm.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Literal, Self

import sdnotify
import structlog

from edge.log_lines import JournalRenderer, goes_to_journal
from edge.messages import LONGEST_TEXT, Beat, EarlierStart, ServiceState

BEAT_PERIOD_S = 0.5
# A long step says often that it goes on, and each time that it may be silent for so long: a disk may hold up
# a single write for minutes.
_SAY_EVERY_S = 1.0
_LONG_STEP_S = 300
ServiceName = Literal["camera", "detector", "results"]


def new_epoch() -> int:
    """A random number that tells this start of a service from every other (63 bit)."""
    return secrets.randbits(63)


def configure_logging(service: str) -> structlog.stdlib.BoundLogger:
    """JSON lines to stderr under systemd or in a pipe, coloured text on a terminal.

    To the journal each line goes with its priority, and inside `about_part` with the part it is about.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _renderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    log: structlog.stdlib.BoundLogger = structlog.get_logger(service=service)
    return log


def _renderer() -> structlog.typing.Processor:
    if goes_to_journal():
        return JournalRenderer()
    readable = sys.stderr.isatty() and "INVOCATION_ID" not in os.environ
    return structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()


class Lifecycle:
    """Signals and systemd for one service process; use as a context manager on the main thread.

    SIGTERM and SIGINT ask the work loop to stop, SIGHUP to reload. Nothing happens inside a handler.
    """

    def __init__(self) -> None:
        # Without systemd there is nobody to tell, and sdnotify would leave a socket open.
        self._notifier = sdnotify.SystemdNotifier() if "NOTIFY_SOCKET" in os.environ else None
        self._stopping = False
        self._reload = False
        self._previous: dict[signal.Signals, signal._HANDLER] = {}
        self._alive_s = time.monotonic()
        self._said_long_s = float("-inf")

    def __enter__(self) -> Self:
        for number, handler in (
            (signal.SIGTERM, self._on_stop),
            (signal.SIGINT, self._on_stop),
            (signal.SIGHUP, self._on_reload),
        ):
            self._previous[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._notify("STOPPING=1")
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def stopping(self) -> bool:
        """True once a stop was asked for."""
        return self._stopping

    def stop(self) -> None:
        """Ask the work loop to stop, as SIGTERM does."""
        self._stopping = True

    @property
    def alive_s(self) -> float:
        """When `alive` was called last, or the start; on the monotonic clock."""
        return self._alive_s

    def take_reload(self) -> bool:
        """True once for each time a reload was asked for since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def ready(self, status: str) -> None:
        """Tell systemd that the service does its work from now on."""
        self._notify(f"READY=1\n{_status_line(status)}")

    def status(self, status: str) -> None:
        """The line that `systemctl status` shows."""
        self._notify(_status_line(status))

    def alive(self) -> None:
        """Feed systemd's watchdog; call it from the work loop and from nowhere else."""
        self._alive_s = time.monotonic()
        self._notify("WATCHDOG=1")

    def takes_long(self) -> None:
        """A step of the start or of the work loop is long and goes on: it is not to be taken for a hang.

        Called by the step itself, as often as it likes. systemd waits on, at a start beyond TimeoutStartSec=.
        """
        now = time.monotonic()
        if now - self._said_long_s < _SAY_EVERY_S:
            return
        self._said_long_s = now
        self._notify(f"EXTEND_TIMEOUT_USEC={_LONG_STEP_S * 1_000_000}")
        self.alive()

    def _notify(self, state: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(state)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reload = True


def _status_line(status: str) -> str:
    """One line: in systemd's protocol the next one would be another message, such as READY=1."""
    return f"STATUS={' '.join(status.split())}"


@dataclass(slots=True)
class Heart:
    """What a service would say of one line, and when it is due to say it."""

    service: ServiceName
    line: str
    epoch: int
    state: ServiceState = ServiceState.STARTING
    counters: Counter[str] = field(default_factory=Counter)
    last_seq: int = -1
    last_error: str = ""
    # What the line is judged with, by name: too much for a beat twice a second, and for metrics alone.
    about: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[EarlierStart, ...] = ()
    last_beat: Beat | None = None
    _due_s: float = 0.0
    _said: ServiceState | None = None

    def due(self) -> bool:
        """True twice a second, and at once when the state has changed; asking starts the next half second."""
        now = time.monotonic()
        # A short FAULT that fell between two beats would never be heard of.
        if now < self._due_s and self.state is self._said:
            return False
        self._due_s, self._said = now + BEAT_PERIOD_S, self.state
        return True

    def beat(self, of_service: Mapping[str, int] | None = None) -> Beat:
        """The beat to publish now; it stays as `last_beat`.

        Args:
            of_service: further counters, which are the same for all lines.
        """
        self.last_beat = Beat(
            service=self.service,
            line=self.line,
            state=self.state,
            epoch=self.epoch,
            counters={**self.counters, **(of_service or {})},
            last_seq=self.last_seq,
            last_error=self.last_error[:LONGEST_TEXT],
            wall_ns=time.time_ns(),
            pid=os.getpid(),
            earlier=self.earlier,
        )
        return self.last_beat
