"""Large frames through shared memory: the camera writes a slot, the detector reads it where it lies.

A slot is a file of its own in a tmpfs, mapped by both sides; only a `SlotRef` crosses the socket:

    byte 0        stamp, 8 bytes, little-endian; 0 while the pixels are written
    byte 8        unused, to the end of the page
    second page   the pixels, row by row, channels side by side

The rules that make a wrong picture impossible:

- A slot is written only while nobody may read it. The reader tells by `Lease` up to which stamp it has seen
  frames and which of those it still holds; all others are free. It is told as a whole state, so a lost lease
  costs a slot for a moment and never a picture.
- Slots are lent to one holder. When the holder goes, or another one comes, the ring starts anew with new
  files: whoever still reads an old slot keeps the memory, which is never written again.
- A slot carries its frame's stamp, 0 while it is written. Another stamp than the message's is `SlotLost`, and
  so is a slot that was lent to another holder: the part is a FAULT. The stamp is asked for again once the
  pixels have been read, so that not even a lease that is wrong lets another part's pixels be judged.
- A holder that lives answers every large frame with a lease. One that is dead or stopped while somebody else
  listens does not: after `DEAF_AFTER_S` its ring is given up, and begins anew when it speaks.
- Without a holder or a free slot the pixels go through the socket, as they do without a ring. A reader that
  cannot map a ring's files frees none of its slots, so that this comes soon.
- All slots of a ring have one size. For larger images the ring starts anew, once no slot is lent.

Ordering between the two processes comes from the socket: the pixels are written before the message is sent,
and the lease is sent after the last reader is gone.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import time
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.messages import MAX_SLOTS, Lease, SlotLost, SlotRef

# Smaller frames cost less through the socket than their slots' upkeep is worth.
SMALLEST_SHARED_BYTES = 1 << 20
# What waited longer for its reader is stale anyway.
DEAF_AFTER_S = 30.0
# The stamp has a page of its own, so that pixels begin at a page's start.
_PIXELS_AT = mmap.PAGESIZE
_STAMP_BYTES = 8
_MODE = 0o640
_ID_BITS = 62


def ring_stem(directory: Path, endpoint: str) -> Path:
    """What the names of a camera's slots begin with; both sides know it from the settings."""
    return directory / f"alfa-{hashlib.sha256(endpoint.encode()).hexdigest()[:16]}"


class FrameRing:
    """The camera's side: one writer, one holder at a time. Used from one thread.

    Args:
        stem: from `ring_stem`; slots that an earlier process left there are removed.
        budget: bytes that the slots may have together.

    Attributes:
        refusal: why the last slot that was wanted could not be made, such as a full tmpfs; empty if it could.
            Of what an earlier process left and cannot be removed it stays, and no slot is ever made.
    """

    def __init__(self, stem: Path, budget: int) -> None:
        self._stem = stem
        self._budget = budget
        self._holder = 0
        self._ring = _fresh_id()
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
        self._holder, self._ring = holder, _fresh_id()
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
        if count == MAX_SLOTS or (count + 1) * self._size > self._budget:
            return None
        return count if self._add_slot() else None

    def _add_slot(self) -> bool:
        path = _slot_path(self._stem, self._ring, len(self._slots))
        try:
            memory = _made(path, _PIXELS_AT + self._size)
        except OSError as error:
            self.refusal = f"{path.parent}: {error.strerror}"
            return False
        self.refusal = ""
        self._slots.append(_Slot(path, memory))
        return True


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
        self._holder = _fresh_id()
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
                memory = _mapped(_slot_path(self._stem, slot.ring, slot.index))
            except (OSError, ValueError) as error:
                self.refusal = f"{self._stem.parent}: {error}"
                raise SlotLost(f"slot {slot.index} cannot be mapped: {error}") from error
            self._memories[slot.index] = memory
        if _PIXELS_AT + slot.length > len(memory):
            raise SlotLost(f"slot {slot.index} is smaller than the {slot.length} bytes of its frame")
        return memory


@dataclass(slots=True, eq=False)
class _Slot:
    """`stamp` is that of the frame the slot is lent with; 0 when it is free."""

    path: Path
    memory: mmap.mmap
    stamp: int = 0

    def write(self, pixels: npt.NDArray[np.uint8], stamp: int) -> None:
        self.memory[:_STAMP_BYTES] = bytes(_STAMP_BYTES)
        np.frombuffer(self.memory, np.uint8, pixels.size, _PIXELS_AT)[:] = pixels.reshape(-1)
        self.memory[:_STAMP_BYTES] = stamp.to_bytes(_STAMP_BYTES, "little")
        self.stamp = stamp


class _Lent:
    """Stands between a mapping and the arrays on it: it is gone when the last of them is."""

    def __init__(self, memory: mmap.mmap, length: int) -> None:
        pixels = np.frombuffer(memory, np.uint8, length, _PIXELS_AT)
        self._pixels = pixels
        self.__array_interface__: dict[str, Any] = pixels.__array_interface__


def _cleared(stem: Path) -> str:
    """Remove the slots that an earlier process left; why that failed, or empty."""
    try:
        for left in stem.parent.glob(f"{stem.name}-*"):
            left.unlink(missing_ok=True)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def _require_stamp(memory: mmap.mmap, slot: SlotRef) -> None:
    stamp = int.from_bytes(memory[:_STAMP_BYTES], "little")
    if stamp != slot.stamp:
        raise SlotLost(f"slot {slot.index} holds frame {stamp} of the ring and not {slot.stamp}")


def _slot_path(stem: Path, ring: int, index: int) -> Path:
    return stem.with_name(f"{stem.name}-{ring:016x}-{index}")


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


def _mapped(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return mmap.mmap(descriptor, 0, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)
    finally:
        os.close(descriptor)


def _fresh_id() -> int:
    """Random and not 0: tells rings and readers of different starts apart."""
    return secrets.randbits(_ID_BITS) | 1
