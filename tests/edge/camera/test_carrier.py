"""What the carrier tells of shared memory that is refused, and of its return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import structlog
from structlog.testing import LogCapture

from edge.camera.publisher import FrameSink
from edge.camera.sources.base import Captured
from edge.heart import Heart
from edge.messages import Lease, encode_lease, frame_topic, lease_topic
from edge.ring import SMALLEST_SHARED_BYTES, FrameRing
from edge.sockets import FRAME_HWM, Sockets, send


@dataclass
class Camera:
    """A sink whose ring lies where the test says, with a reader that has told that it is there."""

    sockets: Sockets
    directory: Path

    def sink(self, stem: Path, events: LogCapture) -> FrameSink:
        """The same line's camera; starts with the ring's own start."""
        endpoint = f"ipc://{self.directory}/camera.sock"
        publisher = self.sockets.watched_publisher(endpoint, FRAME_HWM)
        log = structlog.wrap_logger(structlog.PrintLogger(), processors=[events])
        ring = FrameRing(stem, 2 * SMALLEST_SHARED_BYTES)
        sink = FrameSink(publisher, Heart("camera", "line1", 1), log, ring=ring)
        reader = self.sockets.speaking_subscriber([endpoint], [frame_topic("line1"), lease_topic("line1")], 1)
        while not sink.heard:
            sink.wait(10)
        send(reader, encode_lease(Lease("line1", holder=1)))
        assert publisher.poll(10_000)
        return sink


@pytest.fixture
def camera(runtime_dir: Path) -> Iterator[Camera]:
    with Sockets() as sockets:
        yield Camera(sockets, runtime_dir)


def take_large_frame(sink: FrameSink) -> None:
    sink.take(Captured(np.zeros((1024, 1024, 1), np.uint8), "grey"))


def told(events: LogCapture) -> list[tuple[str, str]]:
    return [(event["log_level"], event["event"]) for event in events.entries]


def test_refused_memory_is_a_warning_and_its_return_is_good_news(camera: Camera) -> None:
    """Each is told once, however many frames come meanwhile."""
    events, directory = LogCapture(), camera.directory / "late"
    sink = camera.sink(directory / "alfa", events)
    take_large_frame(sink)
    take_large_frame(sink)
    assert told(events) == [("warning", "shared_memory_refused")]
    directory.mkdir()
    take_large_frame(sink)
    take_large_frame(sink)
    assert told(events)[1:] == [("info", "shared_memory_available")]


def test_ring_that_cannot_start_is_told_once(camera: Camera) -> None:
    """What cannot be removed is named at the start, before there is any frame, and not with each frame."""
    events, stem = LogCapture(), camera.directory / "alfa"
    in_the_way = camera.directory / "alfa-left"
    in_the_way.mkdir()
    sink = camera.sink(stem, events)
    assert told(events) == [("warning", "shared_memory_refused")]
    take_large_frame(sink)
    assert len(events.entries) == 1
    assert events.entries[0]["refused"].startswith(str(in_the_way))
