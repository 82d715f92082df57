"""Signals and systemd, for every service alike.

The watchdog is fed by the work loop itself: a loop that hangs falls silent, and silence is an alarm.
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType
from typing import Self

import sdnotify

# A long step says often that it goes on, and each time that it may be silent for so long: a disk may hold up
# a single write for minutes.
_SAY_EVERY_S = 1.0
_LONG_STEP_S = 300


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
