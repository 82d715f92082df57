"""The camera's end of the line: every part that came by gets a sequence number; every image goes out."""

from __future__ import annotations

import structlog

from edge.camera.sources.base import Captured, Shot, Unreadable
from edge.lifecycle import Heart
from edge.messages import MAX_PIXELS, MAX_SIDE, Frame, FrameHeader, encode_beat, encode_frame, frame_topic
from edge.sockets import Socket, receive, send

_SUBSCRIBED, _UNSUBSCRIBED = b"\x01", b"\x00"
# A detector gets this long to take the last frames when the camera ends.
_LINGER_MS = 1000


class FrameSink:
    """Numbers, publishes and counts the parts of one line.

    Counters in the beat: `captured` (numbered), `sent` (published), `unreadable` (no image: the number is
    used up and the detector sees the gap). captured = sent + unreadable.
    """

    def __init__(self, socket: Socket, heart: Heart, log: structlog.stdlib.BoundLogger) -> None:
        self._socket = socket
        self._heart = heart
        self._log = log
        self._subscriptions: set[bytes] = set()
        heart.counters.update(captured=0, sent=0, unreadable=0)

    def take(self, shot: Shot) -> None:
        """Give the part its number, and publish its image where there is one."""
        self._heart.last_seq += 1
        self._heart.counters["captured"] += 1
        refusal = _refusal(shot)
        if isinstance(shot, Unreadable) or refusal:
            self._heart.counters["unreadable"] += 1
            self._log.warning(
                "part without image", seq=self._heart.last_seq, part_id=shot.part_id, why=refusal
            )
            return
        send(self._socket, encode_frame(self._frame(shot)))
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
        self._socket.close(linger=_LINGER_MS)

    def wait(self, seconds: float) -> None:
        """Wait at most this long, less when a listener comes or goes."""
        if not self._socket.poll(int(1000 * seconds)):
            return
        while (message := receive(self._socket)) is not None:
            change, topic = bytes(message[0][:1]), bytes(message[0][1:])
            if change == _SUBSCRIBED:
                self._subscriptions.add(topic)
            elif change == _UNSUBSCRIBED:
                self._subscriptions.discard(topic)

    @property
    def heard(self) -> bool:
        """Whether someone is subscribed to this line's frames; as of the last `wait`."""
        return any(frame_topic(self._heart.line).startswith(topic) for topic in self._subscriptions)

    def _frame(self, captured: Captured) -> Frame:
        height, width, channels = captured.pixels.shape
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
        )
        return Frame(header, captured.pixels)


def _refusal(shot: Shot) -> str:
    """Why there is no image that the wire can carry, or empty."""
    if isinstance(shot, Unreadable):
        return shot.why
    height, width, _ = shot.pixels.shape
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        return f"{width} x {height} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS} in all"
    return ""
