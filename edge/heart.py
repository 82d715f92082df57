"""What a service says of itself twice a second: state and counters of a line, the one place they are counted.

Beats are published by the work loop itself: a loop that hangs falls silent, and silence is an alarm.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge.messages import LONGEST_TEXT, Beat, EarlierStart, ServiceState

BEAT_PERIOD_S = 0.5
ServiceName = Literal["camera", "detector", "results"]


def new_epoch() -> int:
    """A random number that tells this start of a service from every other (63 bit)."""
    return secrets.randbits(63)


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
