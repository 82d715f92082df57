"""`edge-camera` as a process: what it publishes, how it ends, and its one line when it cannot start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.detector.frame_source import FrameSource
from edge.lifecycle import Heart, configure_logging
from edge.messages import (
    Beat,
    Frame,
    Part,
    ServiceState,
    decode_beat,
    decode_frame,
    encode_beat,
    frame_topic,
    slot_of,
)
from edge.settings import Settings, load_settings
from edge.sockets import BEAT_HWM, FRAME_HWM, Socket, Sockets, send

MOST_BEFORE_SHARED = 500
COMMAND = [sys.executable, "-m", "edge.camera.main"]
LARGE_LINE = """
[paths]
frames = "{frames}"
[lines.line1]
prompts = "generic"
source = {{kind = "synthetic", rate_hz = 50, width = 1024, height = 768}}
"""
FOLDER_LINE = (
    '[lines.line1]\nprompts = "generic"\nsource = {kind = "folder", path = "images", rate_hz = 200}\n'
)


@contextmanager
def camera(config: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running camera; killed at the end if it still runs."""
    command = [*COMMAND, "--config", str(config), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def failure(config: Path, *options: str) -> tuple[int, str]:
    """Exit code and stderr of a camera that does not start."""
    done = subprocess.run([*COMMAND, "--config", str(config), *options], capture_output=True, timeout=30)
    assert done.stdout == b""
    return done.returncode, done.stderr.decode()


def ready_detector(sockets: Sockets, settings: Settings) -> Socket:
    """Stands in for the detector's beat: says READY of line1 whenever someone subscribes."""
    return sockets.watched_publisher(settings.detector_endpoint("main"), BEAT_HWM)


def stream(
    sockets: Sockets, settings: Settings, receive_within: Callable[..., list[Part]]
) -> tuple[list[Frame], Beat]:
    """All frames of a finite source that waits for its detector, up to the beat that says it ended."""
    listener = sockets.subscriber([settings.camera_endpoint("line1")], [b""], 1000)
    detector = ready_detector(sockets, settings)
    receive_within(detector, 20)
    send(detector, encode_beat(Heart("detector", "line1", 1, ServiceState.READY).beat()))
    frames: list[Frame] = []
    while True:
        message = receive_within(listener)
        if bytes(message[0]) == frame_topic("line1"):
            frames.append(decode_frame(message))
        elif (beat := decode_beat(message)).counters.get("ended"):
            return frames, beat


def test_folder_is_streamed_whole(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """From the first file on nothing is missed; the broken one is the only gap; beats go on at the end."""
    config = write_config(FOLDER_LINE)
    images = config.parent / "images"
    images.mkdir()
    for number in range(5):
        cv2.imwrite(str(images / f"{number}.png"), np.full((20, 30, 3), number, np.uint8))
    (images / "2.png").write_bytes(b"broken")
    with Sockets() as sockets, camera(config, "--wait-for-detector") as process:
        frames, beat = stream(sockets, load_settings(config), receive_within)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert [(frame.header.seq, frame.header.part_id) for frame in frames] == [
        (0, "0"),
        (1, "1"),
        (3, "3"),
        (4, "4"),
    ]
    assert beat.state is ServiceState.READY
    assert beat.counters == {"captured": 5, "sent": 4, "unreadable": 1, "shared": 0, "ended": 1}


def test_limit_ends_an_endless_source(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """Exactly `limit` parts of the synthetic line, and no more."""
    config = write_config()
    config.write_text(config.read_text() + "limit = 7\n")
    with Sockets() as sockets, camera(config, "--wait-for-detector"):
        frames, beat = stream(sockets, load_settings(config), receive_within)
    assert [frame.header.seq for frame in frames] == list(range(7))
    assert beat.counters["captured"] == 7


def test_camera_beats_while_it_waits_for_its_detector(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """STARTING, nothing captured, and SIGTERM ends it cleanly."""
    config = write_config()
    with Sockets() as sockets, camera(config, "--wait-for-detector") as process:
        listener = sockets.subscriber([load_settings(config).camera_endpoint("line1")], [b""], 1000)
        beat = decode_beat(receive_within(listener, 20))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (beat.state, beat.counters["captured"]) == (ServiceState.STARTING, 0)


def test_camera_does_not_wait_unasked(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """Without the option capture runs whether a detector is there or not."""
    config = write_config()
    with Sockets() as sockets, camera(config):
        listener = sockets.subscriber([load_settings(config).camera_endpoint("line1")], [b"frame/"], 1000)
        assert decode_frame(receive_within(listener, 20)).header.line == "line1"


def test_lost_camera_is_a_fault_in_the_beat(
    write_config: Callable[..., Path],
    write_video: Callable[[Path], None],
    receive_within: Callable[..., list[Part]],
) -> None:
    """The service goes on beating, says FAULT and why, and has counted what came before."""
    config = write_config()
    video = config.parent / "v.avi"
    write_video(video)
    config.write_text(
        f'[lines.line1]\nprompts = "generic"\nsource = {{kind = "device", device = "{video}"}}\n'
    )
    with Sockets() as sockets, camera(config) as process:
        listener = sockets.subscriber([load_settings(config).camera_endpoint("line1")], [b"beat/"], 1000)
        while (beat := decode_beat(receive_within(listener, 20))).state is not ServiceState.FAULT:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert "lost" in beat.last_error
    assert beat.counters["captured"] >= 4


def test_large_frames_are_shared_and_survive_a_killed_camera(
    write_config: Callable[..., Path], runtime_dir: Path
) -> None:
    """The frame in hand stays whole; the next camera removes what the killed one left, and leaves nothing."""
    config = write_config(LARGE_LINE.format(frames=runtime_dir))
    settings = load_settings(config)
    with Sockets() as sockets:
        endpoint = settings.camera_endpoint("line1")
        socket = sockets.speaking_subscriber([endpoint], [frame_topic("line1")], FRAME_HWM)
        log = configure_logging("detector")
        source = FrameSource(socket, {"line1": settings.frames_stem("line1")}, log)
        with camera(config) as process:
            frame = next_shared(source, socket)
            process.kill()
            process.wait(10)
        left, before = slots(runtime_dir), frame.pixels.copy()
        assert left
        with camera(config) as process:
            assert next_shared(source, socket).header.epoch != frame.header.epoch
            assert not left & slots(runtime_dir)
            np.testing.assert_array_equal(frame.pixels, before)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        assert slots(runtime_dir) == set()


def slots(directory: Path) -> set[str]:
    """Names of the slots that are there."""
    return {file.name for file in directory.glob("alfa-*")}


def next_shared(source: FrameSource, socket: Socket) -> Frame:
    """The next frame that comes through shared memory; fails when none of many does."""
    for _ in range(MOST_BEFORE_SHARED):
        source.tell()
        assert socket.poll(20_000)
        parts = source.receive()
        assert parts is not None
        frame = source.decode(parts)
        if slot_of(parts) is not None:
            return frame
    pytest.fail(f"{MOST_BEFORE_SHARED} frames, and all through the socket")


def test_second_camera_of_a_line_is_a_fault(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """Two processes never publish as one line."""
    config = write_config()
    with Sockets() as sockets, camera(config):
        listener = sockets.subscriber([load_settings(config).camera_endpoint("line1")], [b""], 1000)
        receive_within(listener, 20)
        code, line = failure(config)
    assert code == 3
    assert "camera-line1.sock is served by another process" in line


@pytest.mark.parametrize(
    ("source", "code", "expected"),
    [
        ('{kind = "folder", path = "images"}', 2, "lines.line1.source.path = "),
        ('{kind = "video", path = "v.avi"}', 2, "lines.line1.source.path = "),
        ('{kind = "device", device = "/dev/video77"}', 3, "lines.line1.source.device = '/dev/video77'"),
    ],
)
def test_source_that_does_not_open_is_one_line(
    write_config: Callable[..., Path], source: str, code: int, expected: str
) -> None:
    """Key and value are named, the exit code tells wrong input from a fault, and nothing was made."""
    config = write_config(f'[lines.line1]\nprompts = "generic"\nsource = {source}\n')
    found, line = failure(config)
    assert found == code
    assert line.count("\n") == 1
    assert line.startswith("error: ")
    assert expected in line
    assert list(config.parent.iterdir()) == [config]


def test_unknown_line_is_bad_input(write_config: Callable[..., Path]) -> None:
    """The lines there are, are listed."""
    code, line = failure(write_config(), "--line", "line2")
    assert code == 2
    assert "'line2': no such line; --line takes one of: line1" in line


def test_camera_starts_without_torch() -> None:
    """A camera box needs no GPU libraries in memory."""
    code = "import sys, edge.camera.main, edge.camera.sources.synthetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
