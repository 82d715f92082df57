"""Camera and detector over a real socket: large frames through shared memory, else through the socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import structlog
from structlog.testing import LogCapture

from edge.camera.publisher import FrameSink
from edge.camera.sources.base import Captured
from edge.detector.frame_source import FrameSource
from edge.heart import Heart
from edge.log_lines import configure_logging
from edge.messages import Frame, SlotLost, decode_frame_header, frame_topic
from edge.rate_limited_log import RateLimitedLog
from edge.ring import FrameRing
from edge.sockets import FRAME_HWM, Socket, Sockets
from edge.speakers import Speakers

SIDE = 1024
BUDGET = 2 * SIDE * SIDE
MOST_BEFORE_SHARED = 100
UNHURRIED_S = 0.2


@dataclass
class Line:
    """A camera, and as many detectors one after the other as the test wants."""

    sockets: Sockets
    endpoint: str
    stem: Path
    heart: Heart
    sink: FrameSink
    events: LogCapture

    def detector(self, *, shared: bool = True, stem: Path | None = None) -> tuple[FrameSource, Socket]:
        """A source that the camera knows of; `stem` is where it looks for slots, if at the wrong place."""
        log = structlog.wrap_logger(structlog.PrintLogger(), processors=[self.events])
        cameras = Speakers.subscribed(
            self.sockets, {self.endpoint: [frame_topic("line1")]}, FRAME_HWM, RateLimitedLog(log)
        )
        source = FrameSource(cameras, {"line1": stem or self.stem} if shared else {}, log)
        while not self.sink.heard:
            self.sink.wait(10)
        return source, cameras.sockets[0]

    def send(self, value: int) -> None:
        """Capture and publish one frame of one grey value."""
        self.sink.take(Captured(np.full((SIDE, SIDE, 1), value, np.uint8), "grey"))

    @property
    def shared(self) -> int:
        """Frames that went through shared memory so far."""
        return self.heart.counters["shared"]


@pytest.fixture
def line(runtime_dir: Path) -> Iterator[Line]:
    with Sockets() as sockets:
        endpoint, stem = f"ipc://{runtime_dir}/camera-line1.sock", runtime_dir / "alfa"
        heart = Heart("camera", "line1", 7)
        log = configure_logging("camera")
        publisher = sockets.watched_publisher(endpoint, FRAME_HWM)
        sink = FrameSink(publisher, heart, log, ring=FrameRing(stem, BUDGET))
        yield Line(sockets, endpoint, stem, heart, sink, LogCapture())


def next_frame(source: FrameSource, socket: Socket) -> Frame:
    assert socket.poll(10_000)
    ((_, parts),) = source.take(most=1)
    return source.frame(decode_frame_header(parts), parts)


def shared_frame(line: Line, source: FrameSource, socket: Socket, value: int) -> Frame:
    """Send until the camera has heard that this detector reads its ring; the first such frame."""
    before = line.shared
    for _ in range(MOST_BEFORE_SHARED):
        line.send(value)
        frame = next_frame(source, socket)
        if line.shared > before:
            return frame
        source.tell()
        line.sink.wait(10)
    pytest.fail(f"{MOST_BEFORE_SHARED} frames, and all through the socket")


def test_large_frame_comes_through_shared_memory(line: Line) -> None:
    """Header and pixels as captured; in the socket there was only where they lie."""
    source, socket = line.detector()
    frame = shared_frame(line, source, socket, 9)
    assert frame.pixels.shape == (SIDE, SIDE, 1)
    assert (frame.pixels == 9).all()
    assert not frame.pixels.flags.writeable


def test_detector_that_cannot_share_gets_the_pixels(line: Line) -> None:
    """It never tells that it reads a ring, so the camera sends every frame whole."""
    source, socket = line.detector(shared=False)
    for value in range(3):
        line.send(value)
        assert (next_frame(source, socket).pixels == value).all()
    assert line.shared == 0


def test_detector_that_cannot_map_the_slots_soon_gets_the_pixels(line: Line) -> None:
    """It frees no slot of such a ring: as many frames are lost as there are slots, and it is told once."""
    source, socket = line.detector(stem=line.stem.parent / "elsewhere" / "alfa")
    lost = 0
    for value in range(40):
        line.send(value)
        try:
            assert (next_frame(source, socket).pixels == value).all()
        except SlotLost:
            lost += 1
        source.tell()
    assert lost == line.shared == 2
    (event,) = line.events.entries
    assert (event["event"], event["log_level"]) == ("shared_memory_unreadable", "warning")
    assert "elsewhere" in event["refused"]


def test_full_ring_falls_back_to_the_socket(line: Line) -> None:
    """A detector that holds all slots still gets the next frame, and no held frame changes."""
    source, socket = line.detector()
    held = [shared_frame(line, source, socket, value) for value in (1, 2)]
    line.send(3)
    assert (next_frame(source, socket).pixels == 3).all()
    assert line.shared == 2
    assert [int(frame.pixels.max()) for frame in held] == [1, 2]


def test_slots_are_used_again(line: Line) -> None:
    """Many more frames than slots pass through shared memory, as the detector lets go of them."""
    source, socket = line.detector()
    for value in range(20):
        assert (shared_frame(line, source, socket, value).pixels == value).all()
        source.tell()
    assert len(list(line.stem.parent.glob("alfa-*"))) <= 2


def test_detector_that_goes_takes_its_slots_along(line: Line) -> None:
    """The camera removes the ring; the next detector starts with the socket and gets a ring of its own."""
    source, socket = line.detector()
    held = shared_frame(line, source, socket, 1)
    socket.close()
    while line.sink.heard:
        line.sink.wait(10)
    assert list(line.stem.parent.glob("alfa-*")) == []
    assert (held.pixels == 1).all()
    second, second_socket = line.detector()
    assert (shared_frame(line, second, second_socket, 2).pixels == 2).all()


def test_frame_whose_slot_is_gone_is_named(line: Line) -> None:
    """A message that outlived its slot is an error with a name, and the next frame arrives."""
    source, socket = line.detector()
    shared_frame(line, source, socket, 1)
    line.send(2)
    for file in line.stem.parent.glob("alfa-*"):
        with file.open("r+b") as memory:
            memory.write(bytes(8))
    with pytest.raises(SlotLost):
        next_frame(source, socket)
    source.tell()
    assert (shared_frame(line, source, socket, 3).pixels == 3).all()


def test_last_frames_of_an_ending_camera_arrive(line: Line) -> None:
    """The camera keeps its files until the detector has them, and then leaves none."""
    source, socket = line.detector()
    held = shared_frame(line, source, socket, 1)
    shared_before = line.shared
    line.send(2)  # into a slot that the detector has not mapped yet, as it holds the other one
    assert line.shared == shared_before + 1
    ending = threading.Thread(target=line.sink.close)
    ending.start()
    # A camera that does not wait for the detector has ended by then, and its files are gone.
    ending.join(UNHURRIED_S)
    assert (next_frame(source, socket).pixels == 2).all()
    source.tell()
    ending.join(10)
    assert not ending.is_alive()
    assert (held.pixels == 1).all()
    assert list(line.stem.parent.glob("alfa-*")) == []
