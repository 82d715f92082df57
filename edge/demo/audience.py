"""The demo's own subscriber: what anybody on the box would see of the line's topics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from edge.messages import (
    AnomalyMap,
    Beat,
    ServiceState,
    Verdict,
    beat_topic,
    decode_beat,
    decode_map,
    decode_verdict,
    map_topic,
    verdict_topic,
)
from edge.settings import Settings
from edge.sockets import VERDICT_HWM, Sockets, receive

_POLL_MS = 50


@dataclass(slots=True)
class Heard:
    """All that was heard of one line so far."""

    verdicts: dict[int, Verdict] = field(default_factory=dict)  # by seq
    maps: dict[int, AnomalyMap] = field(default_factory=dict)  # by seq
    repeated: int = 0  # verdicts for a part that already had one
    captured: int = 0  # by the camera's own count
    detector: ServiceState | None = None
    latencies_ms: list[float] = field(default_factory=list)  # capture to verdict, as the detector timed it

    def take_verdict(self, verdict: Verdict) -> None:
        """Keep the first verdict of each part and count any further one."""
        if verdict.seq in self.verdicts:
            self.repeated += 1
            return
        self.verdicts[verdict.seq] = verdict
        self.latencies_ms.append(verdict.timings.total)

    def take_beat(self, beat: Beat) -> None:
        """Note the camera's count of captured parts and the detector's state."""
        if beat.service == "camera":
            self.captured = beat.counters.get("captured", 0)
        elif beat.service == "detector":
            self.detector = beat.state


class Audience:
    """Subscribes to one line's verdicts, maps and beats."""

    def __init__(self, sockets: Sockets, settings: Settings, line: str) -> None:
        detector = settings.lines[line].detector
        self.heard = Heard()
        self._socket = sockets.subscriber(
            [
                settings.detector_endpoint(detector),
                settings.maps_endpoint(detector),
                settings.camera_endpoint(line),
            ],
            [
                verdict_topic(line),
                map_topic(line),
                beat_topic("detector", line),
                beat_topic("camera", line),
            ],
            VERDICT_HWM,
        )

    def listen(
        self,
        until: Callable[[Heard], bool],
        timeout_s: float,
        meanwhile: Callable[[], None],
        on_verdict: Callable[[Verdict], None],
    ) -> bool:
        """Take messages until `until` holds (True) or the time is up (False).

        Args:
            until: asked after every message and every 50 ms.
            timeout_s: seconds of patience.
            meanwhile: called every 50 ms or sooner, such as a check that all processes run.
            on_verdict: called for the first verdict of each part.
        """
        deadline = time.monotonic() + timeout_s
        while not until(self.heard):
            if time.monotonic() > deadline:
                return False
            meanwhile()
            if self._socket.poll(_POLL_MS, zmq.POLLIN):
                self._take(on_verdict)
        return True

    def _take(self, on_verdict: Callable[[Verdict], None]) -> None:
        while (parts := receive(self._socket)) is not None:
            topic = bytes(parts[0])
            if topic.startswith(b"verdict/"):
                verdict = decode_verdict(parts)
                if verdict.seq not in self.heard.verdicts:
                    on_verdict(verdict)
                self.heard.take_verdict(verdict)
            elif topic.startswith(b"map/"):
                anomaly_map = decode_map(parts)
                self.heard.maps[anomaly_map.header.seq] = anomaly_map
            else:
                self.heard.take_beat(decode_beat(parts))
