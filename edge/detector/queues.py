"""Frames that wait for the worker: bounded, one queue a line, taken in batches across the lines."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from edge.messages import FaultReason, Frame

Overload = Literal["every", "latest"]


@dataclass(frozen=True, slots=True, eq=False)
class Displaced:
    """A frame that will not be judged because there was no room, and why."""

    frame: Frame
    reason: FaultReason


class LineQueue:
    """The waiting frames of one line; pure, first in first out.

    Args:
        capacity: most frames that wait under `every`; `latest` keeps one, the newest.
        overload: what gives way when there is no room: the newcomer (`every`) or the waiting one (`latest`).
    """

    def __init__(self, capacity: int, overload: Overload) -> None:
        self._overload = overload
        self._capacity = capacity if overload == "every" else 1
        self._frames: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> Displaced | None:
        """Let a frame wait; gives the frame that found no room, if any."""
        if len(self._frames) < self._capacity:
            self._frames.append(frame)
            return None
        if self._overload == "every":
            return Displaced(frame, FaultReason.QUEUE_FULL)
        skipped = self._frames.popleft()
        self._frames.append(frame)
        return Displaced(skipped, FaultReason.SKIPPED)

    def take(self) -> Frame:
        """The frame that waited longest.

        Raises:
            IndexError: none waits.
        """
        return self._frames.popleft()


class FrameQueues:
    """The queues of all lines, between the thread that receives and the one that judges."""

    def __init__(self, queues: Mapping[str, LineQueue]) -> None:
        self._queues = dict(queues)
        self._turn = deque(self._queues)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, frame: Frame) -> Displaced | None:
        """Let a frame wait in its line's queue; never blocks."""
        with self._changed:
            displaced = self._queues[frame.header.line].put(frame)
            self._changed.notify_all()
        return displaced

    def take(self, most: int, wait_s: float) -> list[Frame]:
        """Up to `most` frames, the lines taking turns; blocks until there is one.

        Once there is one, waits at most `wait_s` seconds for more. Empty once the queues are closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting() > 0)
            self._changed.wait_for(lambda: self._closed or self._waiting() >= most, timeout=wait_s)
            return [] if self._closed else list(self._taken(most))

    def depth(self, line: str) -> int:
        """How many frames of a line wait."""
        with self._changed:
            return len(self._queues[line])

    def close(self) -> list[Frame]:
        """Give nothing to the worker any more; what still waited comes back, to be accounted for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return list(self._taken(self._waiting()))

    def _waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def _taken(self, most: int) -> Iterable[Frame]:
        for _ in range(min(most, self._waiting())):
            yield self._next_in_turn().take()

    def _next_in_turn(self) -> LineQueue:
        """The next line that has a frame: a fast line cannot crowd out a slow one."""
        while True:
            queue = self._queues[self._turn[0]]
            self._turn.rotate(-1)
            if queue:
                return queue
