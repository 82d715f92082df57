"""A slot of shared memory, as both sides know it.

    byte 0        stamp, 8 bytes, little-endian; 0 while the pixels are written
    byte 8        unused, to the end of the page
    second page   the pixels, row by row, channels side by side

Another stamp than that of the message means that the pixels are another frame's.
"""

from __future__ import annotations

import hashlib
import mmap
import secrets
from pathlib import Path

# Smaller frames cost less through the socket than their slots' upkeep is worth.
SMALLEST_SHARED_BYTES = 1 << 20
# The stamp has a page of its own, so that pixels begin at a page's start.
PIXELS_AT = mmap.PAGESIZE
_STAMP_BYTES = 8
_ID_BITS = 62


def ring_stem(directory: Path, endpoint: str) -> Path:
    """What the names of a camera's slots begin with; both sides know it from the settings."""
    return directory / f"alfa-{hashlib.sha256(endpoint.encode()).hexdigest()[:16]}"


def slot_path(stem: Path, ring: int, index: int) -> Path:
    """The file of a slot of one ring."""
    return stem.with_name(f"{stem.name}-{ring:016x}-{index}")


def stamp_of(memory: mmap.mmap) -> int:
    """The stamp of the frame whose pixels lie there; 0 while they are written."""
    return int.from_bytes(memory[:_STAMP_BYTES], "little")


def set_stamp(memory: mmap.mmap, stamp: int) -> None:
    """Write it."""
    memory[:_STAMP_BYTES] = stamp.to_bytes(_STAMP_BYTES, "little")


def fresh_id() -> int:
    """Random and not 0: tells rings and readers of different starts apart."""
    return secrets.randbits(_ID_BITS) | 1
