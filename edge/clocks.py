"""Whose monotonic clock a time was read from: it starts anew with every boot and is one machine's alone."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cache
from pathlib import Path

from edge.messages import Verdict

NS_PER_MS = 1_000_000

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


def is_foreign(boot: str, mono_ns: int, now_ns: int) -> bool:
    """Whether a monotonic time says nothing here: another machine's or start's, or ahead of now.

    Args:
        boot: whose clock it was read from; where it is empty (an older sender, or one that could not tell)
            the time alone decides.
        mono_ns: as read there.
        now_ns: on this machine's monotonic clock.
    """
    elsewhere = bool(boot and this_boot()) and boot != this_boot()
    return elsewhere or mono_ns > now_ns + _FUTURE_NS


def dated_here(verdict: Verdict, replayed: bool, now_ns: int) -> Verdict:
    """The verdict with a time of publication on this machine's monotonic clock, which no step of UTC changes.

    Args:
        verdict: where its own time says nothing here, it is that of its arrival.
        replayed: it came on request: then its arrival says nothing either, and the time is 0 for unknown.
        now_ns: of its arrival.
    """
    published_ns = verdict.published_mono_ns
    if published_ns and not is_foreign(verdict.boot, published_ns, now_ns):
        return verdict
    return dataclasses.replace(verdict, published_mono_ns=0 if replayed else now_ns)
