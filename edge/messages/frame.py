"""A captured part, camera -> detector.

    part 0   frame/{line}/
    part 1   msgpack FrameHeader
    part 2   the pixels: height x width x channels bytes, row by row, channels side by side

Part 2 is empty where the pixels lie in shared memory, and part 3 then says where (`shared_memory`); it is
empty and the last one where the camera has no image of the part, and the header then says why (`unreadable`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, with_config

from edge.messages.codec import LENIENT, VERSION, HeaderCodec, Part, array_of, expect_parts, expect_topic
from edge.messages.errors import MalformedHeader, NoImage, TooLarge
from edge.messages.fields import MAX_SIDE, Counter, Hash, Line, PartId, Seq, Text

MAX_PIXELS = 100_000_000
FRAME_PARTS = 3
SHARED_FRAME_PARTS = 4


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One captured part: identity, clocks and the layout of the pixels that follow."""

    line: Line
    epoch: Counter  # random per camera start: tells a restart from a gap
    seq: Seq  # counts captures from 0 within the epoch
    mono_ns: Counter  # CLOCK_MONOTONIC of the box at capture: ages and latencies
    wall_ns: Counter  # UTC at capture: the record
    height: Annotated[int, Field(ge=1, le=MAX_SIDE)]
    width: Annotated[int, Field(ge=1, le=MAX_SIDE)]
    channels: Literal[1, 3]
    dtype: Literal["uint8"]
    colour: Literal["rgb", "bgr", "grey"]
    part_id: PartId = ""
    trigger: Text = ""
    captured_height: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0  # where the camera shrank the image, else 0
    captured_width: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0
    boot: Hash = ""  # whose clock `mono_ns` is of (`edge.clocks`); empty: unknown
    unreadable: Text = ""  # why there is no image of this part; the layout says nothing then
    v: int = VERSION

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes a part unique on this plant: (line, epoch, seq)."""
        return self.line, self.epoch, self.seq

    @property
    def captured_size(self) -> tuple[int, int]:
        """(height, width) of the image as captured: what regions are told in."""
        return self.captured_height or self.height, self.captured_width or self.width


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it travels: `pixels` (H, W, C) uint8 may be a read-only view of the received message."""

    header: FrameHeader
    pixels: npt.NDArray[np.uint8]

    def require_whole(self) -> None:
        """Ask, after the pixels have been read, whether they were this frame's all the time.

        Those of a message always are; a frame whose pixels lie in shared memory looks.

        Raises:
            SlotLost: what was read may be another part's.
        """


FRAME_HEADER = HeaderCodec(FrameHeader)


def frame_topic(line: str) -> bytes:
    """`frame/{line}/`."""
    return f"frame/{line}/".encode()


def encode_frame(frame: Frame) -> list[Part]:
    """Topic, header, pixels; the pixels are a view, not a copy, when they are contiguous."""
    pixels = np.ascontiguousarray(frame.pixels)
    return [frame_topic(frame.header.line), FRAME_HEADER.pack(frame.header), pixels.data.cast("B")]


def encode_unreadable(header: FrameHeader) -> list[Part]:
    """Topic, header, nothing: a part without image, whose header says why (`unreadable`)."""
    return [frame_topic(header.line), FRAME_HEADER.pack(header), b""]


def decode_frame(parts: Sequence[Part]) -> Frame:
    """The reverse of `encode_frame`; `pixels` is a read-only view of the third part.

    Raises:
        DecodeError: one of its subclasses; nothing was allocated.
    """
    _, _, payload = expect_parts(parts, FRAME_PARTS)
    return frame_of(decode_frame_header(parts), payload)


def decode_frame_header(parts: Sequence[Part]) -> FrameHeader:
    """Which part a frame message is of, whatever became of its pixels.

    Raises:
        DecodeError: one of its subclasses; then nobody knows which part it is.
    """
    topic, packed, *_ = parts if len(parts) == SHARED_FRAME_PARTS else expect_parts(parts, FRAME_PARTS)
    header = FRAME_HEADER.unpack(packed)
    expect_topic(topic, frame_topic(header.line))
    return header


def frame_of(header: FrameHeader, payload: Part) -> Frame:
    """The frame of a header and its pixels, of which it is a read-only view.

    Raises:
        DecodeError: there is no image, or header and pixels do not fit; nothing was allocated.
    """
    if header.unreadable:
        raise NoImage(header.unreadable)
    if header.channels != (1 if header.colour == "grey" else 3):
        raise MalformedHeader(f"{header.channels} channels cannot be {header.colour}")
    if header.height * header.width > MAX_PIXELS:
        raise TooLarge(f"{header.width} x {header.height} pixels; at most {MAX_PIXELS}")
    captured_height, captured_width = header.captured_size
    if captured_height < header.height or captured_width < header.width:
        raise MalformedHeader("captured_height, captured_width: smaller than the image that was sent")
    return Frame(header, array_of(payload, np.uint8, (header.height, header.width, header.channels)))
