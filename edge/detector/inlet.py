"""Everything that enters the detector: frames are decoded, accounted for and queued."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from edge.detector.frame_source import FrameSource
from edge.detector.line import Line
from edge.detector.outlet import Outlet
from edge.detector.queues import Displaced, FrameQueues
from edge.messages import DecodeError, FaultReason, Frame, Part
from edge.settings import LineSettings

# Bounds the time between two beats when frames come faster than they are taken.
_FRAMES_A_PASS = 64


class Inlet:
    """Takes frames of all lines.

    Args:
        frames: of all lines' cameras.
        lines: by name; those whose topics are subscribed to.
        settings: of the lines.
        queues: where frames wait for the worker.
        outlet: takes the FAULT of a frame for which there is no room.
        log: where events go.
    """

    def __init__(
        self,
        frames: FrameSource,
        lines: Mapping[str, Line],
        settings: Mapping[str, LineSettings],
        queues: FrameQueues,
        outlet: Outlet,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._frames = frames
        self._lines = lines
        self._settings = settings
        self._queues = queues
        self._outlet = outlet
        self._log = log

    def take(self) -> None:
        """Take the frames that are there, up to a bound; never blocks."""
        self._frames.tell()
        for _ in range(_FRAMES_A_PASS):
            parts = self._frames.receive()
            if parts is None:
                return
            try:
                frame = self._frames.decode(parts)
            except DecodeError as error:
                self._count_undecodable(parts, error)
            else:
                self._take_frame(frame)

    def _take_frame(self, frame: Frame) -> None:
        line = self._lines[frame.header.line]
        if not line.arrived(frame.header):
            return
        displaced = self._queues.put(frame) if self._fits(frame) else Displaced(frame, FaultReason.QUEUE_FULL)
        if displaced is not None:
            self._outlet.publish_displaced(displaced)

    def _fits(self, frame: Frame) -> bool:
        """Whether the line's waiting frames stay within its memory; a single one may always wait.

        Under `latest` the queue itself keeps at most three.
        """
        settings = self._settings[frame.header.line]
        waiting = self._queues.depth(frame.header.line)
        within = (waiting + 1) * frame.pixels.nbytes <= settings.frame_buffer_bytes
        return settings.overload == "latest" or not waiting or within

    def _count_undecodable(self, parts: list[Part], error: DecodeError) -> None:
        """The part itself is found missing when the next frame arrives."""
        # Subscriptions are `frame/{line}/`, so the topic starts with these pieces whatever follows.
        line = bytes(parts[0]).split(b"/")[1].decode()
        self._lines[line].count("undecodable")
        self._log.warning("frame_undecodable", line=line, reason=error.reason, detail=str(error))
