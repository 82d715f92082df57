"""What enters the detector over a real socket: queued within the line's memory, or a verdict at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from alfa.calibration import Calibration
from edge.camera.publisher import FrameSink
from edge.camera.sources.base import Captured
from edge.detector.frame_source import FrameSource
from edge.detector.inlet import Inlet
from edge.detector.line import Line
from edge.detector.outlet import Outlet
from edge.detector.queues import FrameQueues, LineQueue, Overload
from edge.detector.verdicts import Stamp
from edge.heart import Heart
from edge.log_lines import configure_logging
from edge.messages import Frame, FrameHeader, Part, encode_frame, frame_topic
from edge.rate_limited_log import RateLimitedLog
from edge.settings import LineSettings, SyntheticSource
from edge.sockets import BEAT_HWM, FRAME_HWM, MAP_HWM, Socket, Sockets, receive, send
from edge.speakers import Speakers

MB = 1_000_000
ENTERED = ("received", "undecodable", "implausible_seq")


@dataclass
class Entrance:
    """A camera's sink, and the detector's inlet behind it."""

    sockets: Sockets
    directory: Path
    calibration: Calibration | None = None

    def counters_after(
        self, sizes: Sequence[int], overload: Overload = "every", junk: Sequence[list[Part]] = ()
    ) -> dict[str, int]:
        """The line's counters once `junk` and frames of these sizes in bytes have entered.

        A megabyte may wait. `strays` and `queue` are counted along.
        """
        log = configure_logging("detector")
        endpoint = f"ipc://{self.directory}/camera.sock"
        camera = self.sockets.watched_publisher(endpoint, FRAME_HWM)
        sink = FrameSink(camera, Heart("camera", "line1", 1), log)
        rogue = self.unfiltered_publisher(f"ipc://{self.directory}/rogue.sock")
        warnings, asked = RateLimitedLog(log), [frame_topic("line1")]
        topics = {endpoint: asked, f"ipc://{self.directory}/rogue.sock": asked}
        cameras = Speakers.subscribed(self.sockets, topics, FRAME_HWM, warnings)
        (frames,) = cameras.sockets
        lines = {"line1": Line("line1", 1, Stamp("main", 0), history=10)}
        lines["line1"].use(Stamp("main", 0, calibration="c"), self.calibration)
        outlet = Outlet(
            self.sockets.publisher(f"ipc://{self.directory}/verdicts.sock", BEAT_HWM),
            self.sockets.publisher(f"ipc://{self.directory}/maps.sock", MAP_HWM),
            self.sockets.replay_server(f"ipc://{self.directory}/replay.sock"),
            lines,
            log,
        )
        settings = LineSettings(
            source=SyntheticSource(kind="synthetic"), prompts="x", overload=overload, frame_buffer_mb=1
        )
        queues = FrameQueues({"line1": LineQueue(capacity=10, overload=overload)})
        inlet = Inlet(FrameSource(cameras, {}, log), lines, {"line1": settings}, queues, outlet, log)
        while not sink.heard:
            sink.wait(10)
        assert rogue.poll(10_000)
        receive(rogue)
        rogue.setsockopt(zmq.SUBSCRIBE, b"")
        counters = lines["line1"].heart.counters
        for number, parts in enumerate(junk, start=1):
            send(rogue, parts)
            while cameras.strays + sum(counters[name] for name in ENTERED) < number:
                assert frames.poll(10_000)
                inlet.take()
        counters["strays"] = cameras.strays
        for number, size in enumerate(sizes, start=1):
            sink.take(Captured(np.zeros((size // 1000, 1000, 1), np.uint8), "grey"))
            while counters["received"] < number:
                assert frames.poll(10_000)
                inlet.take()
        counters["queue"] = queues.depth("line1")
        return counters

    def unfiltered_publisher(self, endpoint: str) -> Socket:
        """A publisher that decides itself what its subscribers get, once it is told to subscribe them."""
        publisher = self.sockets.watched_publisher(endpoint, FRAME_HWM)
        publisher.setsockopt(zmq.XPUB_MANUAL, 1)
        return publisher


def frame_of(line: str) -> Frame:
    """A small frame that decodes."""
    header = FrameHeader(line, 1, 0, 1, 1, height=2, width=2, channels=1, dtype="uint8", colour="grey")
    return Frame(header, np.zeros((2, 2, 1), np.uint8))


@pytest.fixture
def entrance(runtime_dir: Path) -> Iterator[Entrance]:
    with Sockets() as sockets:
        yield Entrance(sockets, runtime_dir)


def test_small_frames_are_bounded_by_their_number(entrance: Entrance) -> None:
    """Ten frames of 50 kB are no megabyte: as many wait as the queue holds."""
    counters = entrance.counters_after([50_000] * 11)
    assert (counters["queue"], counters["queue_full"]) == (10, 1)


def test_large_frames_are_bounded_by_their_bytes(entrance: Entrance) -> None:
    """Two frames of 400 kB fit into a megabyte; the third is a FAULT though the queue would hold ten."""
    counters = entrance.counters_after([400_000] * 3)
    assert (counters["queue"], counters["queue_full"]) == (2, 1)


def test_a_single_frame_may_always_wait(entrance: Entrance) -> None:
    """An image above the line's memory is judged; a second one has to wait for its end."""
    counters = entrance.counters_after([3 * MB, 3 * MB])
    assert (counters["queue"], counters["queue_full"]) == (1, 1)


@pytest.mark.parametrize(("side", "counted"), [(1000, 0), (910, 0), (1100, 0), (900, 3), (2000, 3), (0, 0)])
def test_images_of_another_size_than_the_calibrations_are_warned_of(
    entrance: Entrance, capsys: pytest.CaptureFixture[str], side: int, counted: int
) -> None:
    """Each is counted, one line says so of all; a calibration that does not know its size doubts none."""
    thresholds = {"score_median": 0.1, "score_threshold": 0.2, "map_median": 0.1, "map_threshold": 0.2}
    hashes = {"weights_hash": "w", "prompts_hash": "p", "bank_hash": "", "method_hash": "m"}
    entrance.calibration = Calibration(n=20, alpha=0.05, **thresholds, **hashes, image_side=side)
    counters = entrance.counters_after([50_000] * 3)
    assert (counters["calibrated_at_another_size"], counters["queue"]) == (counted, 3)
    told = [line for line in capsys.readouterr().err.splitlines() if "calibrated_at_another_size" in line]
    assert len(told) == (counted > 0)
    assert all(f"images of {side} pixels, the camera sends 1000" in line for line in told)


def test_newest_wins_whatever_its_size(entrance: Entrance) -> None:
    """`latest` holds one unprepared frame, so that memory is no reason to refuse the newer one."""
    counters = entrance.counters_after([3 * MB, 3 * MB], overload="latest")
    assert (counters["queue"], counters["queue_full"], counters["skipped"]) == (1, 0, 1)


@pytest.mark.parametrize(
    "parts",
    [
        [b"junk"],
        [b""],
        [b"frame/"],
        [b"frame/\xff/", b"", b""],
        [b"frame/line10/", b"", b""],
        encode_frame(frame_of("line2")),
    ],
    ids=["no topic", "empty", "no line", "no text", "longer name", "another line"],
)
def test_message_of_no_line_is_dropped_and_counted(entrance: Entrance, parts: list[Part]) -> None:
    """A publisher may send what nobody asked for; the next frame enters as if nothing had been."""
    counters = entrance.counters_after([50_000], junk=[parts])
    assert (counters["strays"], counters["undecodable"]) == (1, 0)
    assert (counters["received"], counters["queue"]) == (1, 1)


@pytest.mark.parametrize("topic", [b"frame/line1/", b"frame/line1/more"])
def test_garbage_under_the_lines_topic_is_the_lines(entrance: Entrance, topic: bytes) -> None:
    """It is counted where its operator looks."""
    counters = entrance.counters_after([50_000], junk=[[topic, b"garbage"]])
    assert (counters["strays"], counters["undecodable"], counters["received"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("changes", "counter"),
    [
        ({"mono_ns": 2**62}, "clock_skewed"),
        ({"boot": "another"}, "clock_skewed"),
        ({"seq": 2**62}, "implausible_seq"),
    ],
    ids=["future", "elsewhere", "jump"],
)
def test_header_that_cannot_be_true_is_counted(
    entrance: Entrance, changes: dict[str, Any], counter: str
) -> None:
    """The frames beside it enter; no part is told lost for it."""
    first = frame_of("line1")
    odd = Frame(dataclasses.replace(first.header, **({"seq": 1} | changes)), first.pixels)
    counters = entrance.counters_after([], junk=[encode_frame(first), encode_frame(odd)])
    assert (counters[counter], counters["frame_lost"], counters["undecodable"]) == (1, 0, 0)
    assert counters["received"] == 2 - counters["implausible_seq"]
