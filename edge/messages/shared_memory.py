"""A frame whose pixels lie in shared memory (`edge.ring`), and the lease that lends them.

    part 0   frame/{line}/          camera -> detector
    part 1   msgpack FrameHeader
    part 2   empty
    part 3   msgpack SlotRef        where the pixels lie

    part 0   lease/{line}/          detector -> camera
    part 1   msgpack Lease          what the detector still reads

Part 2 is empty: a reader that knows no slots sees another number of parts, and never an empty picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, with_config

from edge.messages.codec import LENIENT, VERSION, HeaderCodec, Part
from edge.messages.fields import Counter, Line
from edge.messages.frame import FRAME_HEADER, MAX_PIXELS, SHARED_FRAME_PARTS, FrameHeader, frame_topic

MAX_SLOTS = 64


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class SlotRef:
    """Where a frame's pixels lie in shared memory, and for whom (`edge.ring`)."""

    ring: Counter  # random per ring: names its files
    index: Annotated[int, Field(ge=0, lt=MAX_SLOTS)]
    length: Annotated[int, Field(ge=1, le=MAX_PIXELS * 3)]  # bytes
    stamp: Annotated[int, Field(ge=1, lt=2**63)]  # counts the ring's frames; the slot carries the same
    holder: Counter  # the reader for whom the slot is kept until it says that it is done
    v: int = VERSION


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class Lease:
    """What a reader has of a ring: the whole state each time, so that none of these messages must arrive.

    A slot with a stamp of at most `seen` that is not in `held` is free again.
    """

    line: Line
    holder: Annotated[int, Field(ge=1, lt=2**63)]
    ring: Counter = 0  # 0: none yet; the reader only says that it can read one
    seen: Counter = 0
    held: Annotated[tuple[Counter, ...], Field(max_length=MAX_SLOTS)] = ()
    v: int = VERSION


_SLOT = HeaderCodec(SlotRef)
_LEASE = HeaderCodec(Lease)


def encode_shared_frame(header: FrameHeader, slot: SlotRef) -> list[Part]:
    """Topic, header, nothing, slot: a frame whose pixels lie in shared memory."""
    return [frame_topic(header.line), FRAME_HEADER.pack(header), b"", _SLOT.pack(slot)]


def slot_of(parts: Sequence[Part]) -> SlotRef | None:
    """The slot that a frame message refers to; None where its pixels are in the message.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _SLOT.unpack(parts[3]) if len(parts) == SHARED_FRAME_PARTS else None


def lease_topic(line: str) -> bytes:
    """`lease/{line}/`."""
    return f"lease/{line}/".encode()


def encode_lease(lease: Lease) -> list[Part]:
    """Topic and header."""
    return [lease_topic(lease.line), _LEASE.pack(lease)]


def decode_lease(parts: Sequence[Part]) -> Lease:
    """The reverse of `encode_lease`.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _LEASE.unpack_message(parts, lambda lease: lease_topic(lease.line))
