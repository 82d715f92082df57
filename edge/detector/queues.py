"""Frames that wait to be judged: bounded, one queue a line, taken in batches across the lines.

A frame is prepared in its queue and not on its way to another one: so a batch is put together when the model
is free and not a batch earlier, the newest frame wins under `latest` to the last, and every frame is in one
place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from edge.detector.preparing import Prepared
from edge.messages import FaultReason, Frame

Overload = Literal["every", "latest"]


@dataclass(frozen=True, slots=True, eq=False)
class Displaced:
    """A frame that will not be judged because there was no room, and why."""

    frame: Frame
    reason: FaultReason


class LineQueue:
    """The waiting frames of one line; pure, first in first out. Frames are prepared while they wait.

    Args:
        capacity: most frames that wait under `every`; `latest` keeps one, the newest.
        overload: what gives way when there is no room: the newcomer (`every`) or the waiting one (`latest`).
    """

    def __init__(self, capacity: int, overload: Overload) -> None:
        self._overload = overload
        self._capacity = capacity if overload == "every" else 1
        self._prepared: deque[Prepared] = deque()  # all of them before all of the others
        self._unprepared: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._prepared) + len(self._unprepared)

    @property
    def ready(self) -> int:
        """How many frames are prepared."""
        return len(self._prepared)

    def put(self, frame: Frame) -> Displaced | None:
        """Let a frame wait; gives the frame that found no room, if any."""
        if len(self) < self._capacity:
            self._unprepared.append(frame)
            return None
        if self._overload == "every":
            return Displaced(frame, FaultReason.QUEUE_FULL)
        skipped = self._prepared.popleft().frame if self._prepared else self._unprepared.popleft()
        self._unprepared.append(frame)
        return Displaced(skipped, FaultReason.SKIPPED)

    def first_unprepared(self) -> Frame | None:
        """The frame to prepare next; it goes on waiting meanwhile, and may be displaced."""
        return self._unprepared[0] if self._unprepared else None

    def prepared(self, prepared: Prepared) -> None:
        """Take what was made of the first unprepared frame; one that was displaced meanwhile is let go."""
        if self._unprepared and self._unprepared[0] is prepared.frame:
            self._unprepared.popleft()
            self._prepared.append(prepared)

    def take(self) -> Prepared:
        """The frame that waited longest, prepared.

        Raises:
            IndexError: none is.
        """
        return self._prepared.popleft()

    def clear(self) -> list[Frame]:
        """All frames that wait, oldest first; the queue is empty then."""
        frames = [*(prepared.frame for prepared in self._prepared), *self._unprepared]
        self._prepared.clear()
        self._unprepared.clear()
        return frames


class FrameQueues:
    """The queues of all lines, between three threads: one receives, one prepares, one judges.

    What was taken stays known until it is settled, so that a frame can be accounted for whose judging never
    comes back.
    """

    def __init__(self, queues: Mapping[str, LineQueue]) -> None:
        self._queues = dict(queues)
        self._turn_to_prepare = deque(self._queues.values())
        self._turn_to_judge = deque(self._queues.values())
        self._changed = threading.Condition()
        self._closed = False
        self._in_hand: Sequence[Prepared] = ()
        self._abandoned = False

    def put(self, frame: Frame) -> Displaced | None:
        """Let a frame wait in its line's queue; never blocks."""
        with self._changed:
            displaced = self._queues[frame.header.line].put(frame)
            self._changed.notify_all()
        return displaced

    def next_unprepared(self) -> Frame | None:
        """A waiting frame to prepare, the lines taking turns; blocks until there is one. None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting() > self._ready())
            if self._closed:
                return None
            return _next_in_turn(
                self._turn_to_prepare, lambda queue: len(queue) > queue.ready
            ).first_unprepared()

    def prepared(self, prepared: Prepared) -> None:
        """Give back the frame of `next_unprepared`, prepared."""
        with self._changed:
            self._queues[prepared.frame.header.line].prepared(prepared)
            self._changed.notify_all()

    def take(self, most: int, wait_s: float) -> list[Prepared]:
        """Up to `most` prepared frames, the lines taking turns; blocks until there is one.

        Once there is one, waits at most `wait_s` seconds for more. Empty once the queues are closed.
        """
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._closed or self._ready() > 0)
                self._changed.wait_for(lambda: self._closed or self._ready() >= most, timeout=wait_s)
                if self._closed:
                    return []
                # Under `latest` what was prepared may have been displaced while more was waited for.
                if self._ready():
                    break
            self._in_hand = [
                _next_in_turn(self._turn_to_judge, lambda queue: queue.ready > 0).take()
                for _ in range(min(most, self._ready()))
            ]
            return list(self._in_hand)

    @contextmanager
    def settling(self) -> Iterator[bool]:
        """While inside, what was taken last gets its verdicts; False where it was abandoned before."""
        with self._changed:
            yield not self._abandoned
            self._in_hand = ()

    def abandon(self) -> list[Frame]:
        """What was taken and is not settled; from now on whoever calls this owes the verdicts."""
        with self._changed:
            self._abandoned = True
            return [prepared.frame for prepared in self._in_hand]

    def depth(self, line: str) -> int:
        """How many frames of a line wait."""
        with self._changed:
            return len(self._queues[line])

    def ready(self, line: str) -> int:
        """How many of them are prepared."""
        with self._changed:
            return self._queues[line].ready

    def close(self) -> list[Frame]:
        """Give nothing out any more; what still waited comes back, to be accounted for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return [frame for queue in self._queues.values() for frame in queue.clear()]

    def _waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    def _ready(self) -> int:
        return sum(queue.ready for queue in self._queues.values())


def _next_in_turn(turn: deque[LineQueue], has_one: Callable[[LineQueue], bool]) -> LineQueue:
    """The next line that has what is wanted: a fast line cannot crowd out a slow one."""
    while True:
        queue = turn[0]
        turn.rotate(-1)
        if has_one(queue):
            return queue
