"""Freed memory stays with the process: images and activations of the same sizes come and go at every frame.

glibc gives a block above 32 MB back to the kernel as soon as it is freed, and the next one is mapped, cleared
and faulted in 4 kB at a time: half of the time that a large frame takes through a socket, and most of what an
elementwise operation on a large tensor takes on the CPU.
"""

from __future__ import annotations

import ctypes

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# What lies free at the end of the heap above this goes back; single blocks above it were never part of it.
_KEPT_BYTES = 1 << 30
# Older C libraries take no larger threshold for single blocks.
_LARGEST_OF_OLD = 32 << 20


def keep_freed_memory() -> bool:
    """Let the C heap reuse large blocks; before other threads start, which would get heaps of their own.

    Returns:
        Whether this C library has such settings; without them everything works, and large blocks cost more.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    if not any(mallopt(_M_MMAP_THRESHOLD, size) == 1 for size in (_KEPT_BYTES, _LARGEST_OF_OLD)):
        # The other settings alone would switch off the C library's own, which grows with what is freed.
        return False
    wishes = ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_ARENA_MAX, 1))
    taken = [mallopt(wish, value) == 1 for wish, value in wishes]
    return all(taken)
