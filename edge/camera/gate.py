"""Holds a replayed line back until its detector listens, so that not even the first part is missed.

A real camera needs no gate: capture never waits for a listener, and what nobody heard is a FAULT.
"""

from __future__ import annotations

from edge.camera.publisher import FrameSink
from edge.messages import DecodeError, ServiceState, beat_topic, decode_beat
from edge.settings import Settings
from edge.sockets import BEAT_HWM, Sockets, receive


class DetectorGate:
    """Open once the line's detector has said READY and the camera's own socket has its subscription."""

    def __init__(self, sockets: Sockets, settings: Settings, line: str) -> None:
        endpoint = settings.detector_endpoint(settings.lines[line].detector)
        self._beats = sockets.subscriber([endpoint], [beat_topic("detector", line)], BEAT_HWM)
        self._ready = False

    def is_open(self, sink: FrameSink) -> bool:
        """Whether capture may start; reads the beats that came since the last call."""
        while (message := receive(self._beats)) is not None:
            try:
                self._ready = decode_beat(message).state is ServiceState.READY
            except DecodeError:
                # Not a detector we can talk to; keep waiting for one that is.
                self._ready = False
        return self._ready and sink.heard
