"""Whether a service lives and does its work: what systemd's watchdog and the beats know, for HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from edge.heart import Heart
from edge.lifecycle import Lifecycle
from edge.messages import Beat, ServiceState

# Ten beats: a loop that is behind is not yet stuck.
STUCK_AFTER_S = 5.0


class Health:
    """Of one service; may be asked from any thread.

    It looks at nothing but what the work loop says by itself: a loop that is stuck says nothing.

    Args:
        hearts: of the service's lines.
        lifecycle: of the service.
        stuck_after_s: silence of the work loop that is no life.
    """

    def __init__(
        self, hearts: Sequence[Heart], lifecycle: Lifecycle, stuck_after_s: float = STUCK_AFTER_S
    ) -> None:
        self._hearts = hearts
        self._lifecycle = lifecycle
        self._stuck_after_s = stuck_after_s

    @property
    def hearts(self) -> Sequence[Heart]:
        """Of the service's lines."""
        return self._hearts

    @property
    def silence_s(self) -> float:
        """Seconds since the work loop fed the watchdog."""
        return time.monotonic() - self._lifecycle.alive_s

    @property
    def is_alive(self) -> bool:
        """Whether the work loop goes round; not when a batch hangs or the loop is stuck."""
        return self.silence_s <= self._stuck_after_s

    @property
    def is_ready(self) -> bool:
        """Whether it lives and every line said READY in its last beat."""
        beats = self.beats()
        all_heard = len(beats) == len(self._hearts)
        return self.is_alive and all_heard and all(beat.state is ServiceState.READY for beat in beats)

    def beats(self) -> list[Beat]:
        """The last beat of each line that has said one."""
        return [heart.last_beat for heart in self._hearts if heart.last_beat is not None]

    def lines(self) -> Iterator[str]:
        """One line of text for each line of the box: name, state, last error."""
        for heart in self._hearts:
            beat = heart.last_beat
            yield f"{heart.line} no beat yet" if beat is None else _told(beat)


def _told(beat: Beat) -> str:
    return f"{beat.line} {beat.state} {' '.join(beat.last_error.split())}".rstrip()
