"""The camera's end of the line: every part that came by gets a sequence number; every image goes out."""

from __future__ import annotations

import time

import numpy as np
import structlog

from edge.camera.shrinking import shrunk
from edge.camera.sources.base import Captured, Shot, Unreadable
from edge.lifecycle import Heart
from edge.messages import (
    MAX_PIXELS,
    MAX_SIDE,
    DecodeError,
    Frame,
    FrameHeader,
    Part,
    SlotRef,
    decode_lease,
    encode_beat,
    encode_frame,
    encode_shared_frame,
    frame_topic,
    lease_topic,
)
from edge.ring import FrameRing
from edge.sockets import FRAME_HWM, Socket, limit_waiting, receive, send

_SUBSCRIBED, _UNSUBSCRIBED = b"\x01", b"\x00"
# A detector gets this long to take the last frames when the camera ends.
_LINGER_MS = 1000
_MS_PER_S = 1000
# So that a beat is not lost to every frame that waits.
_FEWEST_WAITING = 2


class FrameSink:
    """Numbers, publishes and counts the parts of one line.

    Counters in the beat: `captured` (numbered), `sent` (published), `unreadable` (no image: the number is
    used up and the detector sees the gap). captured = sent + unreadable. `shared` of those sent went through
    shared memory.

    Args:
        socket: a watched publisher.
        heart: of the camera service.
        log: where events go.
        max_side: pixels that the longer side of a published image has at most; 0 for no limit.
        buffer_bytes: that frames may take while they wait in the socket.
        ring: for large frames, where the line has one.
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
    ) -> None:
        self._socket = socket
        self._heart = heart
        self._log = log
        self._max_side = max_side
        self._buffer_bytes = buffer_bytes
        self._ring = ring
        self._largest = 0
        self._subscriptions: set[bytes] = set()
        heart.counters.update(captured=0, sent=0, unreadable=0, shared=0)

    def take(self, shot: Shot) -> None:
        """Give the part its number, and publish its image where there is one."""
        self._heart.last_seq += 1
        self._heart.counters["captured"] += 1
        if isinstance(shot, Unreadable):
            self._leave_out(shot.part_id, shot.why)
            return
        small = shrunk(shot, self._max_side)
        refusal = _refusal(shot, small)
        if refusal:
            self._leave_out(shot.part_id, refusal)
            return
        send(self._socket, self._message(shot, small))
        self._heart.counters["sent"] += 1

    def beat_when_due(self) -> None:
        """Publish the heartbeat if its time has come."""
        if self._heart.due():
            send(self._socket, encode_beat(self._heart.beat()))

    def close(self) -> None:
        """Say how many parts there were, and publish no more; what was sent gets a moment to leave.

        Without the count nobody would miss a part that was captured after the beat before.
        """
        send(self._socket, encode_beat(self._heart.beat()))
        if self._ring is not None:
            self._let_read(self._ring)
            self._ring.close()
        self._socket.close(linger=_LINGER_MS)

    def wait(self, seconds: float) -> None:
        """Wait at most this long, less when a listener comes, goes or says something."""
        if self._socket.poll(int(_MS_PER_S * seconds)):
            self._listen()

    @property
    def heard(self) -> bool:
        """Whether someone is subscribed to this line's frames; as of the last `wait`."""
        return any(frame_topic(self._heart.line).startswith(topic) for topic in self._subscriptions)

    def _listen(self) -> None:
        """Follow subscriptions, and what the detector says of the slots that it reads."""
        while (message := receive(self._socket)) is not None:
            change, topic = bytes(message[0][:1]), bytes(message[0][1:])
            if change == _SUBSCRIBED:
                self._subscriptions.add(topic)
            elif change == _UNSUBSCRIBED:
                self._subscriptions.discard(topic)
            elif self._ring is not None and message[0] == lease_topic(self._heart.line):
                self._follow(self._ring, message)
        if self._ring is not None and not self.heard:
            self._ring.close()

    def _leave_out(self, part_id: str, why: str) -> None:
        self._heart.counters["unreadable"] += 1
        self._log.warning("part without image", seq=self._heart.last_seq, part_id=part_id, why=why)

    def _follow(self, ring: FrameRing, message: list[Part]) -> None:
        try:
            ring.follow(decode_lease(message))
        except DecodeError as error:
            self._log.warning("lease_undecodable", reason=error.reason, detail=str(error))

    def _let_read(self, ring: FrameRing) -> None:
        """Wait until the detector has the last slots, as long as it may take to get the last messages."""
        until_s = time.monotonic() + _LINGER_MS / _MS_PER_S
        while ring.unseen and self.heard and (left_s := until_s - time.monotonic()) > 0:
            self.wait(left_s)

    def _message(self, captured: Captured, sent: Captured) -> list[Part]:
        frame = self._frame(captured, sent)
        self._listen()
        slot = None if self._ring is None else self._placed(self._ring, frame)
        if slot is not None:
            self._heart.counters["shared"] += 1
            return encode_shared_frame(frame.header, slot)
        self._bound_waiting(frame.pixels.nbytes)
        return encode_frame(frame)

    def _placed(self, ring: FrameRing, frame: Frame) -> SlotRef | None:
        refused_before = ring.refusal
        slot = ring.place(frame.pixels)
        if ring.refusal != refused_before:
            self._log.warning("shared_memory", refused=ring.refusal)
        return slot

    def _bound_waiting(self, frame_bytes: int) -> None:
        """A high-water mark counts messages; what has to be bounded is memory."""
        if frame_bytes > self._largest:
            self._largest = frame_bytes
            fitting = self._buffer_bytes // frame_bytes
            limit_waiting(self._socket, min(FRAME_HWM, max(_FEWEST_WAITING, fitting)))

    def _frame(self, captured: Captured, sent: Captured) -> Frame:
        pixels = np.ascontiguousarray(sent.pixels)
        height, width, channels = pixels.shape
        captured_height, captured_width = captured.pixels.shape[:2] if sent is not captured else (0, 0)
        header = FrameHeader(
            line=self._heart.line,
            epoch=self._heart.epoch,
            seq=self._heart.last_seq,
            mono_ns=captured.mono_ns,
            wall_ns=captured.wall_ns,
            height=height,
            width=width,
            channels=1 if channels == 1 else 3,
            dtype="uint8",
            colour=captured.colour,
            part_id=captured.part_id,
            captured_height=captured_height,
            captured_width=captured_width,
        )
        return Frame(header, pixels)


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
