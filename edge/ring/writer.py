"""The camera's side of a ring: slots are made, lent with a frame, and taken back."""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.messages import MAX_SLOTS, Lease, SlotRef
from edge.ring.slot import PIXELS_AT, SMALLEST_SHARED_BYTES, fresh_id, set_stamp, slot_path

# What waited longer for its reader is stale anyway.
DEAF_AFTER_S = 30.0
_MODE = 0o640


class FrameRing:
    """The camera's side: one writer, one holder at a time. Used from one thread.

    Args:
        stem: from `ring_stem`; slots that an earlier process left there are removed.
        budget_bytes: that the slots may have together.

    Attributes:
        refusal: why the last slot that was wanted could not be made, such as a full tmpfs; empty if it could.
            Of what an earlier process left and cannot be removed it stays, and no slot is ever made.
    """

    def __init__(self, stem: Path, budget_bytes: int) -> None:
        self._stem = stem
        self._budget_bytes = budget_bytes
        self._holder = 0
        self._ring = fresh_id()
        self._size = 0
        self._stamp = 0
        self._seen = 0
        self._unanswered_s: float | None = None  # when the first frame came that no lease has answered
        self._slots: list[_Slot] = []
        self.refusal = _cleared(stem)
        self._barred = bool(self.refusal)

    def place(self, pixels: npt.NDArray[np.uint8], now_s: float | None = None) -> SlotRef | None:
        """Copy a frame's pixels into a free slot; None where they have to go through the socket.

        Args:
            pixels: (H, W, C), contiguous.
            now_s: on the monotonic clock.
        """
        if self._barred or not self._holder or pixels.nbytes < SMALLEST_SHARED_BYTES:
            return None
        if self._is_deaf(time.monotonic() if now_s is None else now_s):
            self.close()
            return None
        if pixels.nbytes > self._size:
            if self.lent:
                return None
            self._start_anew(self._holder)
            self._size = pixels.nbytes
        index = self._free_slot()
        if index is None:
            return None
        self._stamp += 1
        self._slots[index].write(pixels, self._stamp)
        return SlotRef(self._ring, index, pixels.nbytes, self._stamp, self._holder)

    @property
    def lent(self) -> int:
        """Slots that the holder may read, or will when their messages arrive."""
        return sum(slot.stamp > 0 for slot in self._slots)

    @property
    def unseen(self) -> bool:
        """Whether the holder has not yet said that it has the last frame: its slot's file must stay."""
        return self._seen < self._stamp

    def follow(self, lease: Lease) -> None:
        """Take back what the holder is done with; a new holder gets a ring of its own."""
        self._unanswered_s = None
        if lease.holder != self._holder:
            self._start_anew(lease.holder)
        if lease.ring != self._ring or lease.seen > self._stamp:
            # Of another ring, or from a reader that is wrong: it cannot have seen what was never placed.
            return
        self._seen = lease.seen
        for slot in self._slots:
            if slot.stamp <= lease.seen and slot.stamp not in lease.held:
                slot.stamp = 0

    def close(self) -> None:
        """The holder has gone: remove all slots. What a reader still has mapped stays whole."""
        if self._holder:
            self._start_anew(holder=0)

    def _start_anew(self, holder: int) -> None:
        for slot in self._slots:
            slot.path.unlink(missing_ok=True)
        self._slots.clear()
        self._holder, self._ring = holder, fresh_id()
        self._size = self._stamp = self._seen = 0
        self._unanswered_s = None

    def _is_deaf(self, now_s: float) -> bool:
        """Whether the holder has answered nothing for long; asked for each large frame."""
        if self._unanswered_s is None:
            self._unanswered_s = now_s
        return now_s - self._unanswered_s > DEAF_AFTER_S

    def _free_slot(self) -> int | None:
        """The first slot that nobody reads, as it is warm in the caches; else a new one within the budget."""
        for index, slot in enumerate(self._slots):
            if not slot.stamp:
                return index
        count = len(self._slots)
        if count == MAX_SLOTS or (count + 1) * self._size > self._budget_bytes:
            return None
        return count if self._add_slot() else None

    def _add_slot(self) -> bool:
        path = slot_path(self._stem, self._ring, len(self._slots))
        try:
            memory = _made(path, PIXELS_AT + self._size)
        except OSError as error:
            self.refusal = f"{path.parent}: {error.strerror}"
            return False
        self.refusal = ""
        self._slots.append(_Slot(path, memory))
        return True


@dataclass(slots=True, eq=False)
class _Slot:
    """`stamp` is that of the frame the slot is lent with; 0 when it is free."""

    path: Path
    memory: mmap.mmap
    stamp: int = 0

    def write(self, pixels: npt.NDArray[np.uint8], stamp: int) -> None:
        set_stamp(self.memory, 0)
        np.frombuffer(self.memory, np.uint8, pixels.size, PIXELS_AT)[:] = pixels.reshape(-1)
        set_stamp(self.memory, stamp)
        self.stamp = stamp


def _cleared(stem: Path) -> str:
    """Remove the slots that an earlier process left; why that failed, or empty."""
    try:
        for left in stem.parent.glob(f"{stem.name}-*"):
            left.unlink(missing_ok=True)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _made(path: Path, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        os.fchmod(descriptor, _MODE)  # whatever the umask is: the detector may be another user of the group
        # Takes the memory now: writing into a mapping that a full tmpfs cannot back would end the process.
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
