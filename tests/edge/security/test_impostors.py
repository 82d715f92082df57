"""Services with good keys that speak for a line of another: over real TCP, nothing of it is believed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import zmq

from alfa.settings import ModelSettings
from edge.background import in_background
from edge.detector.service import DetectorService
from edge.heart import Heart, ServiceName
from edge.lifecycle import Lifecycle
from edge.messages import (
    AnomalyMap,
    FaultReason,
    Frame,
    FrameHeader,
    MapHeader,
    Part,
    Result,
    decode_beat,
    encode_beat,
    encode_frame,
    encode_map,
    encode_replay,
    encode_verdict,
    missing_verdict,
)
from edge.rate_limited_log import RateLimitedLog
from edge.results.inbox import Delivery, Inbox
from edge.security.credentials import Credentials
from edge.security.keys import KeyDirectory, Role
from edge.settings import Settings, load_settings
from edge.sockets import VERDICT_HWM, Socket, Sockets, receive, send
from tests.edge.security.conftest import free_endpoint
from tests.edge.security.test_intruders import until

FORGED = 1000
# Two lines: each with a camera and a detector of its own, or both with one detector.
LINE = """
[network.cameras.{line}]
key = "camera-{line}"
frames = "{frames}"
[lines.{line}]
prompts = "generic"
detector = "{detector}"
max_age_ms = 60000
source = {{ kind = "synthetic" }}
"""
DETECTOR = """
[network.detectors.{detector}]
key = "detector-{detector}"
{endpoints}
"""


class Lines:
    """Lines a and b whose services use TCP, all with keys; sockets are closed at the end of the test."""

    def __init__(self, config: Path, stack: ExitStack) -> None:
        self.config = config
        self.settings: Settings = load_settings(config)
        self._stack = stack

    def sockets(self, role: Role, name: str = "") -> Sockets:
        """As the service of that role makes them."""
        credentials = Credentials.load(self.settings.network, role, name)
        return self._stack.enter_context(Sockets(credentials, structlog.stdlib.get_logger()))

    def unfiltered(self, endpoint: str, role: Role, name: str) -> Callable[[], Socket]:
        """A publisher with the keys of that service that sends what nobody asked it for.

        What is returned waits for its first subscriber and gives the socket.
        """
        publisher = self.sockets(role, name).watched_publisher(endpoint, 10_000)
        publisher.setsockopt(zmq.XPUB_MANUAL, 1)

        def opened() -> Socket:
            assert publisher.poll(20_000)
            publisher.recv()
            publisher.setsockopt(zmq.SUBSCRIBE, b"")
            return publisher

        return opened


@pytest.fixture
def lines(runtime_dir: Path) -> Iterator[Callable[..., Lines]]:
    """`lines(*detectors, away=True, model="")`: line a is judged by the first detector, b by the last.

    `away`: detectors use TCP. `model` is a table of config.toml.
    """
    with ExitStack() as stack:

        def make(*detectors: str, away: bool = True, model: str = "") -> Lines:
            keys = KeyDirectory(runtime_dir / "keys")
            text = f'{model}\n[results]\nno_verdict_after_ms = 70000\n[network.results]\nkey = "results"\n'
            keys.create("results", Role.RESULTS)
            for line, detector in zip("ab", (detectors[0], detectors[-1]), strict=True):
                keys.create(f"camera-{line}", Role.CAMERA)
                text += LINE.format(line=line, frames=free_endpoint(), detector=detector)
            for detector in detectors:
                keys.create(f"detector-{detector}", Role.DETECTOR)
                endpoints = [f'{door} = "{free_endpoint()}"' for door in ("verdicts", "maps", "replay")]
                text += DETECTOR.format(detector=detector, endpoints="\n".join(endpoints if away else []))
            (runtime_dir / "config.toml").write_text(text)
            return Lines(runtime_dir / "config.toml", stack)

        yield make


def frame_of(line: str, seq: int) -> Frame:
    """A small frame that decodes, captured now."""
    header = FrameHeader(
        line, 1, seq, time.monotonic_ns(), time.time_ns(), 2, 2, channels=1, dtype="uint8", colour="grey"
    )
    return Frame(header, np.zeros((2, 2, 1), np.uint8))


def test_camera_sends_no_frame_of_another_line(
    lines: Callable[..., Lines], tiny_settings: ModelSettings, logged: list[dict[str, Any]]
) -> None:
    """Of its forged frames the detector accepts none; those of the genuine camera beside it are all taken."""
    values = [f"{key} = {json.dumps(value)}" for key, value in tiny_settings.model_dump().items()]
    plant = lines("main", away=False, model="\n".join(["[model]", *values]))
    opened = {
        line: plant.unfiltered(plant.settings.camera_endpoint(line), Role.CAMERA, line) for line in "ab"
    }
    listener = plant.sockets(Role.SUBSCRIBER).subscriber(
        [plant.settings.detector_endpoint("main")], [b"beat/"], VERDICT_HWM
    )
    told: dict[str, dict[str, int]] = {"a": {}, "b": {}}

    def listen() -> None:
        if listener.poll(20):
            beat = decode_beat(receive(listener) or [])
            told[beat.line] = dict(beat.counters)

    with Lifecycle() as lifecycle:
        detectors = plant.sockets(Role.DETECTOR, "main")
        log: structlog.stdlib.BoundLogger = structlog.get_logger()
        service = DetectorService(plant.config, plant.settings, "main", lifecycle, detectors, log)
        ended = in_background("detector", service.run)
        cameras = {line: wait() for line, wait in opened.items()}
        for seq in range(FORGED):
            send(cameras["a"], encode_frame(frame_of("b", seq)))
        for seq in range(10):
            send(cameras["b"], encode_frame(frame_of("b", seq)))
        until(lambda: told["b"].get("impostors") == FORGED and told["b"].get("judged") == 10, listen)
        lifecycle.stop()
        ended.result(timeout=60)
    assert (told["a"]["received"], told["b"]["duplicate"], told["b"]["undecodable"]) == (0, 0, 0)
    (entry, *_) = [entry for entry in logged if entry["event"] == "impostor"]
    assert (entry["endpoint"], entry["speaks_for"]) == (plant.settings.camera_endpoint("a"), "a")
    assert entry["detail"] == "sent frame/b/"


def beat(service: ServiceName) -> list[Part]:
    """That everything is well with line b."""
    return encode_beat(Heart(service, "b", 1).beat({"captured": 5}))


def verdict() -> list[Part]:
    """Of a part of line b."""
    return encode_verdict(missing_verdict("b", 1, 0, FaultReason.STALE, ""))


def picture() -> list[Part]:
    """Of a part of line b."""
    header = MapHeader("b", 1, 0, Result.NG, height=1, width=1)
    return encode_map(AnomalyMap(header, np.zeros((1, 1), np.float16), b"\xff\xd8"))


def inbox_of(plant: Lines) -> Inbox:
    """Of the results service."""
    counters: dict[str, Counter[str]] = {"a": Counter(), "b": Counter()}
    warnings = RateLimitedLog(structlog.stdlib.get_logger())
    return Inbox(plant.sockets(Role.RESULTS), plant.settings, counters, warnings)


@pytest.mark.parametrize(
    ("endpoint", "role", "message"),
    [
        ("camera_endpoint", Role.CAMERA, beat("camera")),
        ("detector_endpoint", Role.DETECTOR, beat("detector")),
        ("detector_endpoint", Role.DETECTOR, verdict()),
        ("maps_endpoint", Role.DETECTOR, picture()),
    ],
    ids=["camera's beat", "detector's beat", "verdict", "picture"],
)
def test_results_believe_nobody_for_another_line(
    lines: Callable[..., Lines],
    logged: list[dict[str, Any]],
    endpoint: str,
    role: Role,
    message: list[Part],
) -> None:
    """What the camera or the detector of line a says of line b is dropped; b's own is taken."""
    plant = lines("a", "b")
    endpoint_of = {name: getattr(plant.settings, endpoint)(name) for name in "ab"}
    opened = {name: plant.unfiltered(endpoint_of[name], role, name) for name in "ab"}
    inbox = inbox_of(plant)
    impostor, genuine = (opened[name]() for name in "ab")
    for _ in range(FORGED):
        send(impostor, message)
    taken = Delivery()

    def take() -> None:
        delivery = inbox.take(20)
        for kind in dataclasses.fields(Delivery):
            getattr(taken, kind.name).extend(getattr(delivery, kind.name))

    until(lambda: inbox.impostors == FORGED, take)
    assert taken == Delivery()
    send(genuine, message)
    until(lambda: taken != Delivery(), take)
    told = [entry for entry in logged if entry["event"] == "impostor"]
    assert {(entry["endpoint"], entry["speaks_for"]) for entry in told} == {(endpoint_of["a"], "a")}


def test_detector_replays_no_verdict_of_another_line(lines: Callable[..., Lines]) -> None:
    """Asked for line a's it answers with b's, of which none is taken."""
    plant = lines("a", "b")
    server = plant.sockets(Role.DETECTOR, "a").replay_server(plant.settings.replay_endpoint("a"))
    inbox = inbox_of(plant)
    inbox.ask_replay("a")
    assert server.poll(20_000)
    peer, *_ = receive(server) or []
    send(server, [peer, *encode_replay("b", [verdict()])])
    taken: list[object] = []
    until(lambda: inbox.impostors == 1, lambda: taken.extend(inbox.take(20).replayed))
    assert taken == []
