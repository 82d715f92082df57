"""The detector's side of a camera's ring: pixels are read where they lie, a lease says which still are."""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.messages import Lease, SlotLost, SlotRef
from edge.ring.slot import PIXELS_AT, fresh_id, slot_path, stamp_of


@dataclass(frozen=True, slots=True, eq=False)
class SharedPixels:
    """A frame's pixels in a slot.

    Attributes:
        view: of them, read-only.
    """

    view: memoryview
    _memory: mmap.mmap
    _slot: SlotRef

    def require_whole(self) -> None:
        """Ask, after the pixels have been read, whether they were this frame's all the time.

        Raises:
            SlotLost: the slot was written meanwhile.
        """
        _require_stamp(self._memory, self._slot)


class RingReader:
    """The detector's side of one camera's ring. Used from one thread; views may end in any.

    Args:
        line: the camera's.
        stem: as the camera has it.

    Attributes:
        line: the camera's.
        refusal: why slots of the camera's ring cannot be mapped, such as another /dev/shm or missing rights;
            empty while they can.
    """

    def __init__(self, line: str, stem: Path) -> None:
        self.line = line
        self._stem = stem
        self._holder = fresh_id()
        self._ring = 0
        self._seen = 0
        self._held: set[int] = set()
        self._memories: dict[int, mmap.mmap] = {}
        # Appended to by finalizers, in whatever thread lets go of a frame.
        self._returned: deque[tuple[int, int]] = deque()
        self._to_tell = True
        self.refusal = ""

    def pixels(self, slot: SlotRef) -> SharedPixels:
        """The pixels where they lie; the slot is kept until the last view of them is gone.

        Raises:
            SlotLost: they are not there (any more), or were lent to another reader.
        """
        if slot.holder != self._holder:
            raise SlotLost("the slot was lent to another reader; one detector a line")
        if slot.ring != self._ring:
            self._ring, self._seen = slot.ring, 0
            self._held.clear()
            self._memories.clear()
            self.refusal = ""
        self._to_tell = True
        self._seen = max(self._seen, slot.stamp)
        memory = self._memory(slot)
        _require_stamp(memory, slot)
        self._held.add(slot.stamp)
        lent = _Lent(memory, slot.length)
        weakref.finalize(lent, self._returned.append, (slot.ring, slot.stamp)).atexit = False
        return SharedPixels(np.asarray(lent).data, memory, slot)

    def came_through_socket(self) -> None:
        """A large frame without a slot: perhaps its camera does not know yet that this side reads a ring."""
        self._to_tell = True

    def lease(self) -> Lease | None:
        """What the camera is to know now; None where nothing has changed since it was last asked."""
        while self._returned:
            ring, stamp = self._returned.popleft()
            self._to_tell = True
            if ring == self._ring:
                self._held.discard(stamp)
        if not self._to_tell:
            return None
        self._to_tell = False
        if self.refusal:
            # Of a ring that cannot be read nothing is told, so that its slots run out and pixels go through
            # the socket. A camera that has no ring yet, as after a restart, may try another one.
            return Lease(self.line, self._holder)
        return Lease(self.line, self._holder, self._ring, self._seen, tuple(sorted(self._held)))

    def _memory(self, slot: SlotRef) -> mmap.mmap:
        memory = self._memories.get(slot.index)
        if memory is None:
            try:
                memory = _mapped(slot_path(self._stem, slot.ring, slot.index))
            except (OSError, ValueError) as error:
                self.refusal = f"{self._stem.parent}: {error}"
                raise SlotLost(f"slot {slot.index} cannot be mapped: {error}") from error
            self._memories[slot.index] = memory
        if PIXELS_AT + slot.length > len(memory):
            raise SlotLost(f"slot {slot.index} is smaller than the {slot.length} bytes of its frame")
        return memory


class _Lent:
    """Stands between a mapping and the arrays on it: it is gone when the last of them is."""

    def __init__(self, memory: mmap.mmap, length: int) -> None:
        pixels = np.frombuffer(memory, np.uint8, length, PIXELS_AT)
        self._pixels = pixels
        self.__array_interface__: dict[str, Any] = pixels.__array_interface__


def _require_stamp(memory: mmap.mmap, slot: SlotRef) -> None:
    stamp = stamp_of(memory)
    if stamp != slot.stamp:
        raise SlotLost(f"slot {slot.index} holds frame {stamp} of the ring and not {slot.stamp}")


def _mapped(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return mmap.mmap(descriptor, 0, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)
    finally:
        os.close(descriptor)
