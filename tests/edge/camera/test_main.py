"""`edge-camera` as a process: what it publishes, how it ends, and its one line when it cannot start."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.camera.condition import TROUBLES
from edge.detector.frame_source import FrameSource
from edge.heart import Heart
from edge.log_lines import configure_logging
from edge.messages import (
    Beat,
    FaultCode,
    Frame,
    Part,
    ServiceState,
    beat_topic,
    decode_beat,
    decode_frame,
    decode_frame_header,
    encode_beat,
    frame_topic,
    slot_of,
)
from edge.plc.registers import LineImage
from edge.rate_limited_log import RateLimitedLog
from edge.settings import Settings, load_settings
from edge.sockets import BEAT_HWM, FRAME_HWM, Socket, Sockets, receive, send
from edge.speakers import Speakers

if TYPE_CHECKING:
    from tests.edge.camera.conftest import NetworkCamera
    from tests.edge.conftest import StandInPlc

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
    """All images of a finite source that waits for its detector, up to the beat that says it ended."""
    listener = sockets.subscriber([settings.camera_endpoint("line1")], [b""], 1000)
    detector = ready_detector(sockets, settings)
    receive_within(detector, 20)
    send(detector, encode_beat(Heart("detector", "line1", 1, ServiceState.READY).beat()))
    frames: list[Frame] = []
    while True:
        message = receive_within(listener)
        if bytes(message[0]) == frame_topic("line1"):
            if not decode_frame_header(message).unreadable:
                frames.append(decode_frame(message))
        elif (beat := decode_beat(message)).counters.get("ended"):
            return frames, beat


def test_folder_is_streamed_whole(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """From the first file on nothing is missed but the broken one's image; beats go on at the end."""
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
    counted = [beat.counters[name] for name in ("captured", "sent", "unreadable", "shared", "ended")]
    assert counted == [5, 4, 1, 0, 1]
    assert not any(beat.counters[trouble] for trouble in TROUBLES)


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
        # A beat may find the camera lost before its last images are parts.
        while (beat := decode_beat(receive_within(listener, 20))).state is not ServiceState.FAULT or (
            beat.counters["captured"] < 4
        ):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert "lost" in beat.last_error


def device_line(device: str, keys: str = "") -> str:
    """config.toml of line1 with a camera behind OpenCV."""
    return f'[lines.line1]\nprompts = "generic"\nsource = {{kind = "device", device = "{device}"{keys}}}\n'


def beat_that_says(listener: Socket, state: ServiceState, receive_within: Callable[..., list[Part]]) -> Beat:
    """The first beat with this state; frames before it are passed over."""
    while True:
        message = receive_within(listener, 20)
        if bytes(message[0]) != frame_topic("line1") and (beat := decode_beat(message)).state is state:
            return beat


def test_camera_that_is_absent_at_the_start_is_waited_for(
    write_config: Callable[..., Path],
    network_camera: NetworkCamera,
    receive_within: Callable[..., list[Part]],
) -> None:
    """FAULT with its reason in the beat, and no end; once it is there its images are parts."""
    config = write_config(device_line(network_camera.address))
    with Sockets() as sockets, camera(config) as process:
        listener = sockets.subscriber([load_settings(config).camera_endpoint("line1")], [b""], 1000)
        absent = beat_that_says(listener, ServiceState.FAULT, receive_within)
        network_camera.plug_in()
        network_camera.show(*range(0, 200, 10))
        while bytes((message := receive_within(listener, 20))[0]) != frame_topic("line1"):
            pass
        there = beat_that_says(listener, ServiceState.READY, receive_within)
        assert process.poll() is None
    assert absent.last_error.startswith("camera_unavailable: device = ")
    assert absent.counters["captured"] == 0
    assert decode_frame(message).header.seq == 0
    assert there.counters["camera_unavailable"] == 1


def test_frozen_camera_is_a_fault_and_its_parts_have_no_image(
    write_config: Callable[..., Path],
    network_camera: NetworkCamera,
    receive_within: Callable[..., list[Part]],
) -> None:
    """The third equal image is not the third part's; counted, logged by name, and over with another image."""
    network_camera.plug_in()
    network_camera.show(0, 60, 60, 60, 60)
    config = write_config(device_line(network_camera.address, ", frozen_after = 3"))
    with Sockets() as sockets, camera(config) as process:
        listener = sockets.subscriber([load_settings(config).camera_endpoint("line1")], [b"beat/"], 1000)
        frozen = beat_that_says(listener, ServiceState.FAULT, receive_within)
        network_camera.show(90)
        thawed = beat_that_says(listener, ServiceState.READY, receive_within)
        while thawed.counters["captured"] < 6:
            thawed = beat_that_says(listener, ServiceState.READY, receive_within)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    assert frozen.last_error.startswith("camera_frozen: the same image ")
    assert (thawed.counters["sent"], thawed.counters["unreadable"]) == (4, 2)
    assert thawed.counters["camera_frozen"] == 1
    assert log.count(b'"event": "camera_frozen"') == 1


def test_silent_camera_is_a_fault_until_it_speaks(
    write_config: Callable[..., Path],
    network_camera: NetworkCamera,
    receive_within: Callable[..., list[Part]],
) -> None:
    """The connection stands and no image comes: told long before the driver gives up."""
    network_camera.plug_in()
    network_camera.show(*range(0, 60, 10))
    config = write_config(device_line(network_camera.address, ", silent_after_ms = 500"))
    with Sockets() as sockets, camera(config):
        listener = sockets.subscriber([load_settings(config).camera_endpoint("line1")], [b"beat/"], 1000)
        silent = beat_that_says(listener, ServiceState.FAULT, receive_within)
        network_camera.show(*range(60, 120, 10))
        beat_that_says(listener, ServiceState.READY, receive_within)
    assert silent.last_error.startswith("camera_silent: no image for ")
    assert silent.counters["camera_silent"] == 1


def test_frozen_camera_is_the_safe_state_on_the_plc(
    write_config: Callable[..., Path],
    network_camera: NetworkCamera,
    plc: StandInPlc,
) -> None:
    """From the camera's beat through the results service: not ready, camera gone, fault latched."""
    network_camera.plug_in()
    network_camera.show(*range(0, 60, 10))
    # Under load a beat may be late; what a late one does is tested elsewhere.
    patient = f"[results]\nlost_after_ms = 10000\n{plc.table}safe_within_ms = 10_100\n"
    config = write_config(patient + device_line(network_camera.address))
    results = [sys.executable, "-m", "edge.results.main", "--config", str(config)]
    with Sockets() as sockets, subprocess.Popen(results, stderr=subprocess.DEVNULL) as process:
        detector = ready_detector(sockets, load_settings(config))

        def is_ready(image: LineImage) -> bool:
            """Asked again and again, so that the detector goes on beating."""
            send(detector, encode_beat(Heart("detector", "line1", 1, ServiceState.READY).beat()))
            return image.ready

        try:
            plc.wait_for(lambda image: image.heartbeat > 3, seconds=30)
            # Its images end soon: everybody else is there before.
            with camera(config):
                plc.wait_for(is_ready, seconds=30)
                network_camera.show(*[60] * 8)
                image = plc.wait_for(lambda image: not is_ready(image), seconds=30)
        finally:
            process.kill()
    assert (image.camera_alive, image.detector_alive, image.fault) == (False, True, True)
    assert image.fault_code == FaultCode.CAMERA_LOST


def test_large_frames_are_shared_and_survive_a_killed_camera(
    write_config: Callable[..., Path], runtime_dir: Path
) -> None:
    """The frame in hand stays whole; the next camera removes what the killed one left, and leaves nothing."""
    config = write_config(LARGE_LINE.format(frames=runtime_dir))
    settings = load_settings(config)
    with Sockets() as sockets:
        endpoint = settings.camera_endpoint("line1")
        log = configure_logging("detector")
        cameras = Speakers.subscribed(
            sockets, {endpoint: [frame_topic("line1")]}, FRAME_HWM, RateLimitedLog(log)
        )
        (socket,) = cameras.sockets
        source = FrameSource(cameras, {"line1": settings.frames_stem("line1")}, log)
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


def test_camera_tells_for_the_one_that_was_killed(
    write_config: Callable[..., Path], receive_within: Callable[..., list[Part]]
) -> None:
    """The next start's beat counts every part of the killed one: no fewer than the frames that got out."""
    config = write_config()
    with Sockets() as sockets:
        endpoint = load_settings(config).camera_endpoint("line1")
        listener = sockets.subscriber([endpoint], [frame_topic("line1")], 10_000)
        with camera(config) as process:
            for _ in range(20):
                last = decode_frame(receive_within(listener, 20))
            process.kill()
            process.wait(10)
        while (message := receive(listener)) is not None:
            last = decode_frame(message)
        beats = sockets.subscriber([endpoint], [beat_topic("camera", "line1")], BEAT_HWM)
        with camera(config):
            (told,) = decode_beat(receive_within(beats, 20)).earlier
    assert told.epoch == last.header.epoch
    assert told.captured >= last.header.seq + 1


def slots(directory: Path) -> set[str]:
    """Names of the slots that are there."""
    return {file.name for file in directory.glob("alfa-*")}


def next_shared(source: FrameSource, socket: Socket) -> Frame:
    """The next frame that comes through shared memory; fails when none of many does."""
    for _ in range(MOST_BEFORE_SHARED):
        source.tell()
        assert socket.poll(20_000)
        ((_, parts),) = source.take(most=1)
        frame = source.frame(decode_frame_header(parts), parts)
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
        ('{kind = "device", device = "a", frozen_after = 1}', 2, "lines.line1.source.frozen_after = 1"),
    ],
)
def test_source_that_cannot_be_is_one_line(
    write_config: Callable[..., Path], source: str, code: int, expected: str
) -> None:
    """Key and value are named, the exit code says that the input is wrong, and nothing was made."""
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
