"""Whose monotonic clock a time was read from: it starts anew with every boot and is one machine's alone."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from edge.messages import FrameHeader

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Far above what two reads of one clock can differ by.
_FUTURE_NS = 1_000_000_000


@cache
def this_boot() -> str:
    """A short name of this start of this machine; empty where the kernel gives none."""
    try:
        return hashlib.sha256(_BOOT_ID.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def is_foreign(header: FrameHeader, now_ns: int) -> bool:
    """Whether a frame's `mono_ns` says nothing here: another machine's, or ahead of now.

    Args:
        header: one without `boot` (an older camera, or one that could not tell) is judged by its time alone.
        now_ns: on this machine's monotonic clock.
    """
    elsewhere = bool(header.boot and this_boot()) and header.boot != this_boot()
    return elsewhere or header.mono_ns > now_ns + _FUTURE_NS
