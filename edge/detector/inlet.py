"""Everything that enters the detector: frames are decoded, accounted for and queued."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import structlog

from edge.clocks import is_foreign
from edge.detector.frame_source import FrameSource
from edge.detector.line import Line
from edge.detector.outlet import Outlet
from edge.detector.queues import Displaced, FrameQueues
from edge.log_lines import about_part
from edge.messages import (
    DecodeError,
    FaultReason,
    Frame,
    FrameHeader,
    Part,
    decode_frame_header,
    frame_topic,
)
from edge.rate_limited_log import RateLimitedLog
from edge.settings import LineSettings

# Bounds the time between two beats when frames come faster than they are taken.
_FRAMES_A_PASS = 64
_LASTING_PERIOD_S = 3600.0


class Inlet:
    """Takes frames of all lines.

    Args:
        frames: of all lines' cameras.
        lines: by name; those whose topics are subscribed to.
        settings: of the lines.
        queues: where frames wait to be judged.
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
        self._by_topic = {frame_topic(name): line for name, line in lines.items()}
        self._settings = settings
        self._queues = queues
        self._outlet = outlet
        self._log = RateLimitedLog(log)
        self._lasting = RateLimitedLog(log, _LASTING_PERIOD_S)  # what only a person can end

    def take(self) -> None:
        """Take the frames that are there, up to a bound; never blocks."""
        self._frames.tell()
        self._log.tell_when_due()
        for topic, parts in self._frames.take(_FRAMES_A_PASS):
            self._take_message(self._by_topic[topic], parts)

    def _take_message(self, line: Line, parts: list[Part]) -> None:
        try:
            header = decode_frame_header(parts)
        except DecodeError as error:
            # Nobody knows whose it is; the part itself is found missing when the next frame arrives.
            line.count("undecodable")
            self._log.warning("frame_undecodable", str(error), line=line.name, reason=error.reason)
            return
        with about_part(line.name, header.epoch, header.seq, header.part_id):
            self._take_part(line, self._dated_here(line, header), parts)

    def _take_part(self, line: Line, header: FrameHeader, parts: list[Part]) -> None:
        try:
            frame = self._frames.frame(header, parts)
        except DecodeError as error:
            if self._is_new(line, header):
                self._outlet.publish_verdict(line.unreadable(header, error))
        else:
            if self._is_new(line, header):
                self._compare_size(line, header)
                self._put(frame)

    def _dated_here(self, line: Line, header: FrameHeader) -> FrameHeader:
        """The header with a capture time of this machine's clock: that of its arrival where it has none.

        Ages and latencies then begin at the arrival; else a camera elsewhere were always or never stale.
        """
        now_ns = time.monotonic_ns()
        if not is_foreign(header.boot, header.mono_ns, now_ns):
            return header
        line.count("clock_skewed")
        self._log.warning("clock_skewed", "ages count from the arrival", line=line.name)
        return dataclasses.replace(header, mono_ns=now_ns)

    def _is_new(self, line: Line, header: FrameHeader) -> bool:
        """Account for the part; False where it gets no verdict here."""
        is_new = line.arrived(header)
        if line.trouble:
            self._log.warning("implausible_seq", line.trouble, line=line.name)
        return is_new

    def _compare_size(self, line: Line, header: FrameHeader) -> None:
        """A threshold made of images of another size is used all the same, but not in silence."""
        if doubt := line.size_doubt(header):
            line.count("calibrated_at_another_size")
            self._lasting.warning(
                "calibrated_at_another_size", doubt, line=line.name, calibration=line.stamp.calibration
            )

    def _put(self, frame: Frame) -> None:
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
