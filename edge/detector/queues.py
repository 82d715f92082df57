"""Frames that wait to be judged: bounded, one queue a line, taken in batches across the lines.

A frame is prepared in its queue and not on its way to another one: so a batch is put together when the model
is free and not a batch earlier, and every frame is in one place.

Under `latest` a newcomer displaces no frame whose preparing has begun: where preparing takes longer than the
time between two frames, none would ever be finished and nothing judged.
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

    A frame is unprepared, then in preparation (one at a time), then prepared. `every` bounds all of them
    together and turns a newcomer away. `latest` holds one frame of each state: a newcomer displaces the
    unprepared one, a frame that becomes prepared the prepared one before it.

    Args:
        capacity: most frames that wait under `every`.
        overload: what gives way when there is no room: the newcomer (`every`) or the older one (`latest`).
    """

    def __init__(self, capacity: int, overload: Overload) -> None:
        self._overload = overload
        self._capacity = capacity
        # Oldest first, from one to the next.
        self._prepared: deque[Prepared] = deque()
        self._in_preparation: Frame | None = None
        self._unprepared: deque[Frame] = deque()

    def __len__(self) -> int:
        return len(self._prepared) + (self._in_preparation is not None) + len(self._unprepared)

    @property
    def ready(self) -> int:
        """How many frames are prepared."""
        return len(self._prepared)

    @property
    def can_begin(self) -> bool:
        """Whether a frame waits to be prepared and none is in preparation."""
        return bool(self._unprepared) and self._in_preparation is None

    def put(self, frame: Frame) -> Displaced | None:
        """Let a frame wait; gives the frame that found no room, if any."""
        if self._overload == "every" and len(self) >= self._capacity:
            return Displaced(frame, FaultReason.QUEUE_FULL)
        self._unprepared.append(frame)
        if self._overload == "latest" and len(self._unprepared) > 1:
            return Displaced(self._unprepared.popleft(), FaultReason.SKIPPED)
        return None

    def begin(self) -> Frame:
        """The frame to prepare next, which is in preparation until it is given to `prepared`.

        Raises:
            IndexError: none waits for it.
        """
        self._in_preparation = self._unprepared.popleft()
        return self._in_preparation

    def prepared(self, prepared: Prepared) -> Displaced | None:
        """Take what was made of the frame in preparation; gives the frame that finds no room now, if any.

        A frame that was cleared away meanwhile is let go: it is accounted for.
        """
        if self._in_preparation is not prepared.frame:
            return None
        self._in_preparation = None
        self._prepared.append(prepared)
        if self._overload == "latest" and len(self._prepared) > 1:
            return Displaced(self._prepared.popleft().frame, FaultReason.SKIPPED)
        return None

    def take(self) -> Prepared:
        """The frame that waited longest, prepared.

        Raises:
            IndexError: none is.
        """
        return self._prepared.popleft()

    def clear(self) -> list[Frame]:
        """All frames that wait, oldest first, the one in preparation among them; the queue is empty then."""
        in_preparation = [] if self._in_preparation is None else [self._in_preparation]
        frames = [*(prepared.frame for prepared in self._prepared), *in_preparation, *self._unprepared]
        self._prepared.clear()
        self._in_preparation = None
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
            self._changed.wait_for(lambda: self._closed or self._can_begin())
            if self._closed:
                return None
            return _next_in_turn(self._turn_to_prepare, lambda queue: queue.can_begin).begin()

    def prepared(self, prepared: Prepared) -> Displaced | None:
        """Give back the frame of `next_unprepared`, prepared; what it displaced is the caller's to tell."""
        with self._changed:
            displaced = self._queues[prepared.frame.header.line].prepared(prepared)
            self._changed.notify_all()
        return displaced

    def take(self, most: int, wait_s: float) -> list[Prepared]:
        """Up to `most` prepared frames, the lines taking turns; blocks until there is one.

        Once there is one, waits at most `wait_s` seconds for more: for those of other lines, because the next
        part of a line that has one here is a whole period away. Empty once the queues are closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready() > 0)
            # A prepared frame gives way to none but a newer prepared one, so there is still one afterwards.
            self._changed.wait_for(lambda: self._closed or self._is_full(most), timeout=wait_s)
            if self._closed:
                return []
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

    def _can_begin(self) -> bool:
        return any(queue.can_begin for queue in self._queues.values())

    def _is_full(self, most: int) -> bool:
        return self._ready() >= most or all(queue.ready > 0 for queue in self._queues.values())

    def _ready(self) -> int:
        return sum(queue.ready for queue in self._queues.values())


def _next_in_turn(turn: deque[LineQueue], has_one: Callable[[LineQueue], bool]) -> LineQueue:
    """The next line that has what is wanted: a fast line cannot crowd out a slow one."""
    while True:
        queue = turn[0]
        turn.rotate(-1)
        if has_one(queue):
            return queue
