"""How the camera's messages travel: large frames through shared memory, all else through the socket."""

from __future__ import annotations

import time

import structlog

from edge.messages import (
    DecodeError,
    Frame,
    Part,
    SlotRef,
    decode_lease,
    encode_frame,
    encode_shared_frame,
    frame_topic,
    lease_topic,
)
from edge.rate_limited_log import RateLimitedLog
from edge.ring import FrameRing
from edge.sockets import FRAME_HWM, Socket, limit_waiting, receive, send

_SUBSCRIBED, _UNSUBSCRIBED = b"\x01", b"\x00"
# A detector gets this long to take the last frames when the camera ends.
_LINGER_MS = 1000
_MS_PER_S = 1000
# So that a beat is not lost to every frame that waits.
_FEWEST_WAITING = 2


class Carrier:
    """Sends, and follows who listens; never waits for a listener but in `close`.

    Args:
        socket: a watched publisher.
        line: the camera's.
        buffer_bytes: that frames may take while they wait in the socket.
        ring: for large frames, where the line has one.
        log: where events go.
    """

    def __init__(
        self,
        socket: Socket,
        line: str,
        buffer_bytes: int,
        ring: FrameRing | None,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._socket = socket
        self._frame_topic = frame_topic(line)
        self._lease_topic = lease_topic(line)
        self._buffer_bytes = buffer_bytes
        self._ring = ring
        self._log = log
        self._warnings = RateLimitedLog(log)
        self._refusal = ""
        self._largest = 0
        self._subscriptions: set[bytes] = set()
        if ring is not None:
            self._tell_refusal(ring)

    @property
    def heard(self) -> bool:
        """Whether someone is subscribed to the line's frames; as of the last `wait` or frame."""
        return any(self._frame_topic.startswith(topic) for topic in self._subscriptions)

    def send(self, parts: list[Part]) -> None:
        """Send a message that is no frame."""
        send(self._socket, parts)

    def send_frame(self, frame: Frame) -> bool:
        """Send a frame; True where its pixels went through shared memory.

        Args:
            frame: its pixels are contiguous, and nobody changes them again.
        """
        self._listen()
        slot = None if self._ring is None else self._placed(self._ring, frame)
        if slot is not None:
            send(self._socket, encode_shared_frame(frame.header, slot))
            return True
        self._bound_waiting(frame.pixels.nbytes)
        send(self._socket, encode_frame(frame))
        return False

    def wait(self, seconds: float) -> None:
        """Wait at most this long, less when a listener comes, goes or says something."""
        if self._socket.poll(int(_MS_PER_S * seconds)):
            self._listen()

    def close(self) -> None:
        """Send no more; what was sent gets a moment to arrive."""
        if self._ring is not None:
            self._let_read(self._ring)
            self._ring.close()
        self._socket.close(linger=_LINGER_MS)

    def _listen(self) -> None:
        """Follow subscriptions, and what the detector says of the slots that it reads."""
        self._warnings.tell_when_due()
        while (message := receive(self._socket)) is not None:
            change, topic = bytes(message[0][:1]), bytes(message[0][1:])
            if change == _SUBSCRIBED:
                self._subscriptions.add(topic)
            elif change == _UNSUBSCRIBED:
                self._subscriptions.discard(topic)
            elif self._ring is not None and message[0] == self._lease_topic:
                self._follow(self._ring, message)
        if self._ring is not None and not self.heard:
            self._ring.close()

    def _follow(self, ring: FrameRing, message: list[Part]) -> None:
        try:
            ring.follow(decode_lease(message))
        except DecodeError as error:
            self._warnings.warning("lease_undecodable", str(error), reason=error.reason)

    def _placed(self, ring: FrameRing, frame: Frame) -> SlotRef | None:
        slot = ring.place(frame.pixels)
        self._tell_refusal(ring)
        return slot

    def _tell_refusal(self, ring: FrameRing) -> None:
        """Log when shared memory is refused, and when it is there again."""
        if ring.refusal == self._refusal:
            return
        self._refusal = ring.refusal
        if ring.refusal:
            self._log.warning("shared_memory_refused", refused=ring.refusal)
        else:
            self._log.info("shared_memory_available")

    def _bound_waiting(self, frame_bytes: int) -> None:
        """A high-water mark counts messages; what has to be bounded is memory."""
        if frame_bytes > self._largest:
            self._largest = frame_bytes
            fitting = self._buffer_bytes // frame_bytes
            limit_waiting(self._socket, min(FRAME_HWM, max(_FEWEST_WAITING, fitting)))

    def _let_read(self, ring: FrameRing) -> None:
        """Wait until the detector has the last slots, as long as it may take to get the last messages."""
        until_s = time.monotonic() + _LINGER_MS / _MS_PER_S
        while ring.unseen and self.heard and (left_s := until_s - time.monotonic()) > 0:
            self.wait(left_s)
