"""What is wrong with a camera, told everywhere at once: beat, counters, log and systemd's status."""

from __future__ import annotations

import structlog

from edge.camera.sources.base import Trouble
from edge.heart import Heart
from edge.lifecycle import Lifecycle
from edge.messages import ServiceState
from edge.rate_limited_log import RateLimitedLog

# All from the start: a counter that appears only with its first fault cannot be watched.
TROUBLES = ("camera_unavailable", "camera_lost", "camera_silent", "camera_frozen")


class Condition:
    """Follows a camera's trouble; the results service takes FAULT in the beat for a loss of the camera.

    Args:
        heart: of the camera service.
        lifecycle: its status line says what is the matter; the service stays ready, as it goes on trying.
        log: where each change is told.
    """

    def __init__(self, heart: Heart, lifecycle: Lifecycle, log: structlog.stdlib.BoundLogger) -> None:
        self._heart = heart
        self._lifecycle = lifecycle
        self._log = log
        self._warnings = RateLimitedLog(log)
        self._name = ""
        heart.counters.update(dict.fromkeys(TROUBLES, 0))

    def follow(self, trouble: Trouble | None) -> None:
        """Take what is wrong at this moment; call it once a pass of the work loop."""
        self._warnings.tell_when_due()
        self._heart.state = ServiceState.FAULT if trouble else ServiceState.READY
        if trouble:
            self._heart.last_error = str(trouble)
        name = trouble.name if trouble else ""
        if name == self._name:
            return
        self._name = name
        if trouble:
            self._heart.counters[name] += 1
            self._warnings.warning(name, trouble.detail)
            self._lifecycle.status(str(trouble))
        else:
            self._log.info("images_again")
            self._lifecycle.status(f"capturing {self._heart.line}")
