"""Between the thread that judges and the one that draws pictures: a place for a few, and no waiting."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Offers(Generic[_T]):
    """A bounded hand-over whose giver never waits: what finds no room is not taken.

    Args:
        capacity: most offers that wait.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[_T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def offer(self, item: _T) -> bool:
        """Hand over, unless there is no room; False then, and after `close`."""
        with self._changed:
            if self._closed or len(self._waiting) >= self._capacity:
                return False
            self._waiting.append(item)
            self._changed.notify()
            return True

    def take(self) -> _T | None:
        """What waited longest; blocks until there is something. None once closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            return self._waiting.popleft() if self._waiting else None

    def drop(self) -> list[_T]:
        """Take no more and give nothing out; what waited comes back, to be accounted for."""
        with self._changed:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        return dropped

    def close(self) -> None:
        """Take no more; what waits is still given out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
