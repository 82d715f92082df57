"""What tests of the results service share: verdicts, a record, and the service among camera and detector."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest
import structlog

from edge.background import in_background
from edge.lifecycle import Lifecycle
from edge.messages import (
    AnomalyMap,
    Beat,
    EarlierStart,
    FaultReason,
    Part,
    Result,
    ServiceState,
    Verdict,
    decode_beat,
    decode_replay_request,
    encode_beat,
    encode_map,
    encode_replay,
    encode_verdict,
)
from edge.results.record import Record
from edge.results.service import ResultsService
from edge.settings import load_settings
from edge.sockets import Sockets, receive, send

LINE = """
[lines.line1]
prompts = "generic"
max_age_ms = 100
alarm = { k = 1, n = 1 }
source = { kind = "synthetic" }
"""


class MakeVerdict(Protocol):
    """Makes a verdict of line1."""

    def __call__(self, seq: int, result: Result = Result.OK, **changes: Any) -> Verdict: ...


@pytest.fixture
def make_verdict() -> MakeVerdict:
    """`make_verdict(seq, result)` is a verdict of line1, epoch 7, of now; other fields by keyword."""

    def make(seq: int, result: Result = Result.OK, **changes: Any) -> Verdict:
        judged = result is not Result.FAULT
        verdict = Verdict(
            line="line1",
            epoch=7,
            seq=seq,
            part_id=str(seq),
            result=result,
            fault=FaultReason.NONE if judged else FaultReason.STALE,
            score=0.25 if judged else None,
            threshold=0.5 if judged else None,
            published_wall_ns=time.time_ns(),
            published_mono_ns=time.monotonic_ns(),
        )
        return dataclasses.replace(verdict, **changes)

    return make


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """An empty record in `tmp_path / "results.sqlite"`."""
    opened = Record.open(tmp_path / "results.sqlite")
    yield opened
    opened.close()


class Box:
    """A results service on real sockets, its database, and the camera and detector that the test plays.

    Camera and detector beat as long as they are in `beating`; the test's time passes in `until`.
    """

    def __init__(self, config: Path) -> None:
        self.config = config
        self.settings = load_settings(config)
        self.database = self.settings.database
        self.beating = {"camera", "detector"}
        self.captured = 0
        self.camera_epoch = 7
        self.earlier: tuple[EarlierStart, ...] = ()
        self.detector_epoch = 1
        self.detector_state = ServiceState.READY
        self.history: list[Verdict] = []
        self.replays_asked = 0
        self._maps_heard = False
        self.told: Beat | None = None
        self._sockets = Sockets()
        self._camera = self._sockets.publisher(self.settings.camera_endpoint("line1"), 1000)
        self._detector = self._sockets.publisher(self.settings.detector_endpoint("main"), 1000)
        self._maps = self._sockets.watched_publisher(self.settings.maps_endpoint("main"), 1000)
        self._replays = self._sockets.replay_server(self.settings.replay_endpoint("main"))
        self._results = self._sockets.subscriber([self.settings.results_endpoint()], [b"beat/"], 1000)
        self._due_s = 0.0
        self.start()

    def start(self) -> None:
        """Start the service, on a thread of its own."""
        self._lifecycle = Lifecycle()
        self._service = in_background("results", self._serve)

    def stop(self) -> None:
        """End the service as SIGTERM does."""
        self._lifecycle.stop()
        self._service.result(timeout=20)

    def ended(self) -> bool:
        """Whether the service runs no more; raises what it ended with."""
        return self._service.done() and self._service.result() is None

    def close(self) -> None:
        """End everything."""
        if not self.ended():
            self.stop()
        self._sockets.__exit__(None, None, None)

    def publish(self, *verdicts: Verdict) -> None:
        """The detector publishes."""
        for verdict in verdicts:
            send(self._detector, encode_verdict(verdict))

    def publish_map(self, picture: AnomalyMap) -> None:
        """The detector publishes a picture, once the service listens for pictures."""
        if not self._maps_heard:
            assert self._maps.poll(15_000), "the service does not subscribe to maps"
            self._maps_heard = True
        send(self._maps, encode_map(picture))

    def publish_raw(self, parts: list[Part]) -> None:
        """The detector publishes something odd."""
        send(self._detector, parts)

    def until(self, holds: Callable[[], object], seconds: float = 15.0) -> None:
        """Beat, answer replays and listen until something holds; fails when it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert not self.ended(), "the service has ended"
            assert time.monotonic() < deadline, f"last heard: {self.told}"
            self._beat()
            self._answer()
            self._results.poll(10)
            while (parts := receive(self._results)) is not None:
                self.told = decode_beat(parts)

    def until_ready(self) -> None:
        """Wait until the service hears both and says so."""
        self.told = None
        self.until(lambda: self.told and self.told.state is ServiceState.READY, seconds=30.0)

    def counter(self, name: str) -> int:
        """A counter of the service's last beat."""
        return 0 if self.told is None else self.told.counters.get(name, 0)

    def rows(self, query: str = "SELECT seq, result, fault FROM verdicts ORDER BY seq") -> list[Any]:
        """What another program reads from the record."""
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            # Not made yet.
            return []

    def _serve(self) -> None:
        with Sockets() as sockets:
            ResultsService(self.settings, self._lifecycle, sockets, structlog.stdlib.get_logger()).run()

    def _beat(self) -> None:
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + 0.1
        if "camera" in self.beating:
            counters = {"captured": self.captured}
            beat = Beat(
                "camera", "line1", ServiceState.READY, self.camera_epoch, counters, earlier=self.earlier
            )
            send(self._camera, encode_beat(beat))
        if "detector" in self.beating:
            beat = Beat("detector", "line1", self.detector_state, self.detector_epoch, {})
            send(self._detector, encode_beat(beat))

    def _answer(self) -> None:
        while (parts := receive(self._replays)) is not None:
            peer, *request = parts
            assert decode_replay_request(request).line == "line1"
            self.replays_asked += 1
            send(self._replays, [peer, *encode_replay("line1", map(encode_verdict, self.history))])


class ProcessBox(Box):
    """The same with the service as a process, so that it can be killed."""

    def start(self) -> None:
        """Start `edge-results`."""
        command = [sys.executable, "-m", "edge.results.main", "--config", str(self.config)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """End it with SIGTERM."""
        self._process.terminate()
        assert self._process.wait(timeout=20) == 0

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait(timeout=20)

    def ended(self) -> bool:
        """Whether the process runs no more."""
        return self._process.poll() is not None


@pytest.fixture
def make_box(write_config: Callable[..., Path]) -> Iterator[Callable[..., Box]]:
    """`make_box(tables, patience_ms)` is a started service of line1.

    `tables` is more text for config.toml; parts without verdict are given up after `patience_ms`.
    """
    boxes: list[Box] = []

    def make(tables: str = "", patience_ms: int = 30_000) -> Box:
        results = f"[results]\nno_verdict_after_ms = {patience_ms}\n"
        boxes.append(Box(write_config(tables + results + LINE)))
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    """A service without a PLC that hears camera and detector."""
    made = make_box()
    made.until_ready()
    return made
