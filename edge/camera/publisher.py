"""The camera's end of the line: every part that came by gets a sequence number, and goes out with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import structlog

from edge.camera.carrier import Carrier
from edge.camera.shrinking import shrunk
from edge.camera.sources.base import Captured, Shot, Unreadable
from edge.camera.tally import Tally
from edge.clocks import this_boot
from edge.heart import Heart
from edge.log_lines import about_part
from edge.messages import (
    LONGEST_TEXT,
    MAX_PIXELS,
    MAX_SIDE,
    Frame,
    FrameHeader,
    encode_beat,
    encode_unreadable,
)
from edge.rate_limited_log import RateLimitedLog
from edge.ring import FrameRing
from edge.sockets import Socket


class FrameSink:
    """Numbers, publishes and counts the parts of one line.

    Counters in the beat: `captured` (numbered), `sent` (images published), `unreadable` (no image: the part
    is published without, and the detector answers it with a FAULT). captured = sent + unreadable. `shared` of
    those sent went through shared memory.

    Args:
        socket: a watched publisher.
        heart: of the camera service.
        log: where events go.
        max_side: pixels that the longer side of a published image has at most; 0 for no limit.
        buffer_bytes: that frames may take while they wait in the socket.
        ring: for large frames, where the line has one.
        tally: outlives this process; None counts nowhere else than in the beat.
    """

    def __init__(
        self,
        socket: Socket,
        heart: Heart,
        log: structlog.stdlib.BoundLogger,
        *,
        max_side: int = 0,
        buffer_bytes: int = 1 << 29,
        ring: FrameRing | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._carrier = Carrier(socket, heart.line, buffer_bytes, ring, log)
        self._heart = heart
        self._log = RateLimitedLog(log)
        self._max_side = max_side
        self._tally = tally
        heart.counters.update(captured=0, sent=0, unreadable=0, shared=0)

    def take(self, shot: Shot) -> None:
        """Give the part its number, and publish it, with its image where there is one."""
        self._heart.last_seq += 1
        self._heart.counters["captured"] += 1
        if self._tally is not None:
            self._tally.count(self._heart.counters["captured"])
        with about_part(self._heart.line, self._heart.epoch, self._heart.last_seq, shot.part_id):
            self._publish(shot)

    def _publish(self, shot: Shot) -> None:
        if isinstance(shot, Unreadable):
            self._send_without_image(shot)
            return
        small = shrunk(shot, self._max_side)
        refusal = _refusal(shot, small)
        if refusal:
            self._send_without_image(Unreadable(shot.part_id, refusal, shot.mono_ns, shot.wall_ns))
            return
        self._heart.counters["shared"] += self._carrier.send_frame(self._frame(shot, small))
        self._heart.counters["sent"] += 1

    def beat_when_due(self) -> None:
        """Publish the heartbeat if its time has come."""
        self._log.tell_when_due()
        if self._heart.due():
            self._carrier.send(encode_beat(self._heart.beat()))

    def close(self) -> None:
        """Say how many parts there were, and publish no more; what was sent gets a moment to leave.

        Without the count nobody would miss a part that was captured after the beat before.
        """
        self._carrier.send(encode_beat(self._heart.beat()))
        self._carrier.close()
        if self._tally is not None:
            self._tally.close()

    def wait(self, seconds: float) -> None:
        """Wait at most this long, less when a listener comes, goes or says something."""
        self._carrier.wait(seconds)

    @property
    def heard(self) -> bool:
        """Whether someone is subscribed to this line's frames; as of the last `wait` or `take`."""
        return self._carrier.heard

    def _send_without_image(self, part: Unreadable) -> None:
        self._heart.counters["unreadable"] += 1
        self._log.warning("part_without_image", part.why)
        header = dataclasses.replace(self._header(part), unreadable=part.why[:LONGEST_TEXT])
        self._carrier.send(encode_unreadable(header))

    def _frame(self, captured: Captured, sent: Captured) -> Frame:
        pixels = np.ascontiguousarray(sent.pixels)
        height, width, channels = pixels.shape
        captured_height, captured_width = captured.pixels.shape[:2] if sent is not captured else (0, 0)
        header = dataclasses.replace(
            self._header(captured),
            height=height,
            width=width,
            channels=1 if channels == 1 else 3,
            colour=captured.colour,
            captured_height=captured_height,
            captured_width=captured_width,
        )
        return Frame(header, pixels)

    def _header(self, shot: Shot) -> FrameHeader:
        """Of a part of which there is no image."""
        return FrameHeader(
            line=self._heart.line,
            epoch=self._heart.epoch,
            seq=self._heart.last_seq,
            mono_ns=shot.mono_ns,
            wall_ns=shot.wall_ns,
            height=1,
            width=1,
            channels=1,
            dtype="uint8",
            colour="grey",
            part_id=shot.part_id,
            boot=this_boot(),
        )


def _refusal(captured: Captured, small: Captured) -> str:
    """Why the wire cannot carry this image and its size as captured, or empty."""
    if max(captured.pixels.shape) > MAX_SIDE:
        return f"{_named(captured)}; at most {MAX_SIDE} a side"
    height, width, _ = small.pixels.shape
    if height * width > MAX_PIXELS:
        return f"{_named(small)}; at most {MAX_PIXELS} in all"
    return ""


def _named(captured: Captured) -> str:
    height, width, _ = captured.pixels.shape
    return f"{width} x {height} pixels"
