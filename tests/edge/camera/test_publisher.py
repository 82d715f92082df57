"""The frame sink on real sockets: every part has a number, every image goes out, counters tell the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge.camera.gate import DetectorGate
from edge.camera.publisher import FrameSink
from edge.camera.sources.base import Captured, Unreadable
from edge.heart import Heart
from edge.log_lines import configure_logging
from edge.messages import (
    NoImage,
    Part,
    ServiceState,
    beat_topic,
    decode_beat,
    decode_frame,
    decode_frame_header,
    encode_beat,
    frame_topic,
)
from edge.settings import load_settings
from edge.sockets import BEAT_HWM, FRAME_HWM, Socket, Sockets, receive, send


@dataclass
class Line:
    sink: FrameSink
    heart: Heart
    listener: Socket
    sockets: Sockets
    publisher: Socket

    def sink_with(self, *, max_side: int = 0, buffer_bytes: int = 1 << 29) -> FrameSink:
        """Another sink on the same socket."""
        log = configure_logging("camera")
        return FrameSink(self.publisher, self.heart, log, max_side=max_side, buffer_bytes=buffer_bytes)


@pytest.fixture
def line(runtime_dir: Path) -> Iterator[Line]:
    """A sink with one listener that is already subscribed to everything of line1."""
    with Sockets() as sockets:
        endpoint = f"ipc://{runtime_dir}/camera-line1.sock"
        heart = Heart("camera", "line1", 7, ServiceState.READY)
        publisher = sockets.watched_publisher(endpoint, FRAME_HWM)
        sink = FrameSink(publisher, heart, configure_logging("camera"))
        topics = [frame_topic("line1"), beat_topic("camera", "line1")]
        listener = sockets.subscriber([endpoint], topics, FRAME_HWM)
        while not sink.heard:
            sink.wait(10)
        yield Line(sink, heart, listener, sockets, publisher)


def captured(value: int, part_id: str = "") -> Captured:
    return Captured(np.full((4, 6, 3), value, np.uint8), "rgb", part_id)


def test_parts_are_numbered_from_zero(line: Line, receive_within: Callable[..., list[Part]]) -> None:
    """Sequence numbers without gaps, one epoch, the source's pixels and part id."""
    for value in (10, 11):
        line.sink.take(captured(value, part_id=f"part-{value}"))
    frames = [decode_frame(receive_within(line.listener)) for _ in range(2)]
    assert [frame.header.key for frame in frames] == [("line1", 7, 0), ("line1", 7, 1)]
    assert [(frame.header.part_id, int(frame.pixels[0, 0, 0])) for frame in frames] == [
        ("part-10", 10),
        ("part-11", 11),
    ]


def test_capture_time_is_the_sources(line: Line, receive_within: Callable[..., list[Part]]) -> None:
    """Age and latency count from the capture, not from the sending."""
    shot = captured(1)
    line.sink.take(shot)
    header = decode_frame(receive_within(line.listener)).header
    assert (header.mono_ns, header.wall_ns) == (shot.mono_ns, shot.wall_ns)


def test_grey_stays_grey(line: Line, receive_within: Callable[..., list[Part]]) -> None:
    """One channel travels as one channel."""
    line.sink.take(Captured(np.full((4, 6, 1), 9, np.uint8), "grey"))
    frame = decode_frame(receive_within(line.listener))
    assert (frame.header.colour, frame.pixels.shape) == ("grey", (4, 6, 1))


def test_unreadable_part_uses_up_its_number(line: Line, receive_within: Callable[..., list[Part]]) -> None:
    """It goes out without an image, so that its FAULT can name it; the next part has the next number."""
    line.sink.take(Unreadable("broken", "cut short"))
    line.sink.take(captured(1))
    parts = receive_within(line.listener)
    header = decode_frame_header(parts)
    assert (header.seq, header.part_id, header.unreadable) == (0, "broken", "cut short")
    with pytest.raises(NoImage, match="cut short"):
        decode_frame(parts)
    assert decode_frame(receive_within(line.listener)).header.seq == 1
    assert line.heart.counters == {"captured": 2, "sent": 1, "unreadable": 1, "shared": 0}


def test_image_that_the_wire_cannot_carry_is_unreadable(line: Line) -> None:
    """A line camera's endless strip is counted here rather than refused at the other end."""
    line.sink.take(Captured(np.zeros((65_536, 1, 3), np.uint8), "rgb"))
    assert line.heart.counters == {"captured": 1, "sent": 0, "unreadable": 1, "shared": 0}


def test_beat_tells_the_counters(line: Line, receive_within: Callable[..., list[Part]]) -> None:
    """What results compares with the verdicts."""
    line.sink.take(Unreadable("", "cut short"))
    receive_within(line.listener)
    line.sink.beat_when_due()
    beat = decode_beat(receive_within(line.listener))
    assert (beat.state, beat.epoch, beat.last_seq) == (ServiceState.READY, 7, 0)
    assert beat.counters == {"captured": 1, "sent": 0, "unreadable": 1, "shared": 0}


def test_last_word_tells_how_many_parts_there_were(
    line: Line, receive_within: Callable[..., list[Part]]
) -> None:
    """A part that was captured after the last regular beat is counted, and what was sent still arrives."""
    line.sink.beat_when_due()
    receive_within(line.listener)
    line.sink.take(captured(1))
    line.sink.close()
    assert decode_frame(receive_within(line.listener)).header.seq == 0
    assert decode_beat(receive_within(line.listener)).counters["captured"] == 1


def test_shrunk_image_tells_its_captured_size(line: Line, receive_within: Callable[..., list[Part]]) -> None:
    """The detector tells regions in pixels of the image as captured."""
    sink = line.sink_with(max_side=100)
    sink.take(Captured(np.full((200, 400, 3), 5, np.uint8), "rgb"))
    header = decode_frame(receive_within(line.listener)).header
    assert (header.height, header.width, header.captured_size) == (50, 100, (200, 400))


def test_image_too_large_for_the_wire_is_shrunk_first(
    line: Line, receive_within: Callable[..., list[Part]]
) -> None:
    """More pixels than a message may have, at the source: what is sent is what counts."""
    sink = line.sink_with(max_side=100)
    sink.take(Captured(np.zeros((65_000, 1600, 1), np.uint8), "grey"))
    assert decode_frame(receive_within(line.listener)).header.captured_size == (65_000, 1600)


def test_frames_that_wait_are_bounded_by_bytes(runtime_dir: Path, line: Line) -> None:
    """Of 40 frames for a listener that does not read, fewer wait where fewer fit the buffer."""
    waiting = []
    for fitting in (12, 2):
        listener = line.sockets.subscriber([f"ipc://{runtime_dir}/camera-line1.sock"], [b"frame/"], 1)
        line.publisher.poll(10_000)
        sink = line.sink_with(buffer_bytes=fitting * 3_000_000)
        for _ in range(40):
            sink.take(Captured(np.zeros((1000, 1000, 3), np.uint8), "rgb"))
        waiting.append(0)
        while listener.poll(300):
            receive(listener)
            waiting[-1] += 1
        listener.close()
        while receive(line.publisher) != [b"\x00frame/"]:
            line.publisher.poll(10_000)
    assert waiting[1] < waiting[0]


def test_capture_does_not_wait_for_a_listener(line: Line) -> None:
    """A thousand parts pass while nobody reads; all are counted as sent."""
    for _ in range(1000):
        line.sink.take(captured(1))
    assert line.heart.counters["sent"] == 1000


def test_sink_knows_when_its_listener_has_gone(line: Line) -> None:
    """`heard` follows the subscriptions."""
    line.listener.close()
    while line.sink.heard:
        line.sink.wait(10)
    assert not line.sink.heard


def test_gate_opens_when_the_detector_is_ready(
    line: Line, write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """A STARTING detector keeps it shut; READY of this very line opens it."""
    settings = load_settings(write_config())
    detector = line.sockets.watched_publisher(settings.detector_endpoint("main"), BEAT_HWM)
    gate = DetectorGate(line.sockets, settings, "line1")
    assert bytes(receive_within(detector)[0]) == b"\x01beat/detector/line1/"
    seen = line.sockets.subscriber([settings.detector_endpoint("main")], [b"beat/"], BEAT_HWM)
    receive_within(detector)
    for state in (ServiceState.STARTING, ServiceState.READY):
        assert not gate.is_open(line.sink)
        send(detector, encode_beat(Heart("detector", "line1", 1, state).beat()))
        receive_within(seen)
    while not gate.is_open(line.sink):
        line.sink.wait(0.05)


def test_gate_stays_shut_without_a_subscription(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """A READY detector that is not yet connected to this camera would miss the first part."""
    settings = load_settings(write_config())
    with Sockets() as sockets:
        endpoint = settings.camera_endpoint("line1")
        heart = Heart("camera", "line1", 7)
        sink = FrameSink(sockets.watched_publisher(endpoint, FRAME_HWM), heart, configure_logging("camera"))
        detector = sockets.watched_publisher(settings.detector_endpoint("main"), BEAT_HWM)
        gate = DetectorGate(sockets, settings, "line1")
        receive_within(detector)
        seen = sockets.subscriber([settings.detector_endpoint("main")], [b"beat/"], BEAT_HWM)
        receive_within(detector)
        send(detector, encode_beat(Heart("detector", "line1", 1, ServiceState.READY).beat()))
        receive_within(seen)
        assert not gate.is_open(sink)
        sockets.subscriber([endpoint], [frame_topic("line1")], FRAME_HWM)
        while not gate.is_open(sink):
            sink.wait(10)
