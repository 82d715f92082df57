"""Where the detector's frames come from: sockets, and for large ones each camera's shared memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from edge.messages import (
    Frame,
    FrameHeader,
    Part,
    SlotRef,
    WrongParts,
    encode_lease,
    frame_of,
    frame_topic,
    slot_of,
)
from edge.ring import SMALLEST_SHARED_BYTES, RingReader, SharedPixels
from edge.speakers import Speakers

_PIXELS = 2


@dataclass(frozen=True, slots=True)
class SharedFrame(Frame):
    """A frame whose pixels lie in shared memory.

    Attributes:
        shared: where.
    """

    shared: SharedPixels

    def require_whole(self) -> None:
        """As for every frame; here the slot may have been written.

        Raises:
            SlotLost: it was.
        """
        self.shared.require_whole()


class FrameSource:
    """Messages of all lines' cameras. Used from one thread; what is decoded may be let go in any.

    Args:
        cameras: who sends them.
        stems: by line, of those whose large frames come through shared memory.
        log: where events go.
    """

    def __init__(
        self, cameras: Speakers, stems: Mapping[str, Path], log: structlog.stdlib.BoundLogger
    ) -> None:
        self._cameras = cameras
        self._log = log
        self._readers = {frame_topic(line): RingReader(line, stem) for line, stem in stems.items()}
        self.tell()

    def take(self, most: int) -> Iterator[tuple[bytes, list[Part]]]:
        """Messages as they came, with their topics (`Speakers.take`); never blocks."""
        return self._cameras.take(most)

    def frame(self, header: FrameHeader, parts: list[Part]) -> Frame:
        """The frame of a message; its pixels are a read-only view of memory that is kept as long as the view.

        Args:
            header: of `edge.messages.decode_frame_header`.
            parts: the message.

        Raises:
            DecodeError: one of its subclasses; `SlotLost` where the pixels are not in shared memory any more.
        """
        reader = self._readers.get(frame_topic(header.line))
        slot = slot_of(parts)
        if slot is not None:
            if reader is None:
                raise WrongParts("pixels in shared memory, of which this line has none (`shared_frames`)")
            shared = self._viewed(reader, slot)
            frame = frame_of(header, shared.view)
            return SharedFrame(header, frame.pixels, shared)
        frame = frame_of(header, parts[_PIXELS])
        if reader is not None and frame.pixels.nbytes >= SMALLEST_SHARED_BYTES:
            reader.came_through_socket()
        return frame

    def tell(self) -> None:
        """Tell the cameras which slots are free again, where that has changed."""
        for reader in self._readers.values():
            lease = reader.lease()
            if lease is not None:
                self._cameras.say_near(encode_lease(lease))

    def _viewed(self, reader: RingReader, slot: SlotRef) -> SharedPixels:
        refused_before = reader.refusal
        try:
            return reader.pixels(slot)
        finally:
            if reader.refusal and not refused_before:
                self._log.warning(
                    "shared_memory_unreadable",
                    line=reader.line,
                    refused=reader.refusal,
                    advice="camera and detector must see the same directory; pixels go through the socket",
                )
