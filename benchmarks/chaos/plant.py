"""A plant under a supervisor: two lines, a detector, results, a PLC behind a wire, and a witness.

The witness is a subscriber as any may be: it sees each camera's frames and beats, and so knows what was
captured without asking those who have to account for it.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgpack
import zmq

from alfa.errors import Fault
from alfa.prompting.promptset import find_prompt_file
from benchmarks.chaos.audit import Row, Shown
from benchmarks.chaos.plc_proxy import PlcProxy
from benchmarks.chaos.supervisor import Supervisor
from benchmarks.line_model import write_tiny_model
from benchmarks.line_plant import LinePlan, ModelName, Value, config_text
from edge.messages import DecodeError, ServiceState, decode_beat
from edge.plc.registers import decode_image, image_address, part_number, scaled_score
from edge.processes import free_port
from edge.results.reader import read_only
from edge.settings import Settings, load_settings
from edge.sockets import VERDICT_HWM, Socket, Sockets, receive

PROMPTS = "metal_plate"
READY_TIMEOUT_S = 120.0
_POLL_MS = 20
_FRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class _Pace:
    """What a model keeps up with on two cores: parts a second of each line, and how long one may take."""

    rates_hz: tuple[float, float]
    max_age_ms: int

    @property
    def no_verdict_after_ms(self) -> int:
        """Beyond every age at which a part is still judged."""
        return self.max_age_ms + 2000

    @property
    def sources(self) -> dict[str, dict[str, Value]]:
        """One line through the socket, the other large enough for shared memory."""
        small, large = self.rates_hz
        return {
            "line0": {"kind": "synthetic", "rate_hz": small, "width": 96, "height": 64, "seed": 1},
            "line1": {"kind": "synthetic", "rate_hz": large, "width": 720, "height": 512, "seed": 2},
        }


_PACES: dict[ModelName, _Pace] = {"tiny": _Pace((10.0, 3.0), 2000), "alfa-mini": _Pace((1.0, 0.5), 5000)}
_DETECTOR = "detector"
_RESULTS = "results"
_PLC = "plc"


def camera_unit(line: str) -> str:
    """The name of the unit of a line's camera."""
    return f"camera-{line}"


@dataclass(slots=True)
class Witness:
    """What was seen on the sockets.

    Attributes:
        captured: parts of each (line, epoch), the most that a frame or a beat told of.
        state: the last of each service and line, with the epoch of the start that said it.
        ready_ns: when each start of a detector was first READY.
    """

    socket: Socket
    captured: dict[tuple[str, int], int] = field(default_factory=dict)
    state: dict[tuple[str, str], tuple[int, ServiceState]] = field(default_factory=dict)
    heard_s: dict[tuple[str, str], float] = field(default_factory=dict)
    ready_ns: dict[int, int] = field(default_factory=dict)

    def look(self, wait_ms: int) -> None:
        """Take what is there; waits for the first message."""
        self.socket.poll(wait_ms, zmq.POLLIN)
        while (parts := receive(self.socket)) is not None:
            if bytes(parts[0]).startswith(b"frame/"):
                header = msgpack.unpackb(parts[1])
                self._saw(header["line"], header["epoch"], header["seq"] + 1)
            else:
                self._hear(parts)

    def _hear(self, parts: Sequence[bytes | memoryview]) -> None:
        try:
            beat = decode_beat(parts)
        except DecodeError:
            return
        key = beat.service, beat.line
        self.state[key] = beat.epoch, beat.state
        self.heard_s[key] = time.monotonic()
        if beat.service == "camera":
            self._saw(beat.line, beat.epoch, beat.counters.get("captured", 0))
            # Parts that a killed camera had taken, and nobody saw.
            for start in beat.earlier:
                self._saw(beat.line, start.epoch, start.captured)
        elif beat.service == "detector" and beat.state is ServiceState.READY:
            self.ready_ns.setdefault(beat.epoch, time.monotonic_ns())

    def _saw(self, line: str, epoch: int, count: int) -> None:
        self.captured[line, epoch] = max(self.captured.get((line, epoch), 0), count)


class Plant:
    """All of it; leaving the `with` block stops every process.

    Args:
        directory: for config, state, sockets and logs; its path must be short enough for sockets.
        model: `tiny` or `alfa-mini`.

    Attributes:
        every_turn: is called whenever the plant was looked at.
    """

    def __init__(self, directory: Path, model: ModelName) -> None:
        self.directory = directory
        self._pace = _PACES[model]
        self.lines = tuple(self._pace.sources)
        self.history = directory / "plc.jsonl"
        self._plc_port = free_port()
        self.proxy = PlcProxy(self._plc_port)
        self.prompts = directory / "prompts" / f"{PROMPTS}.toml"
        self.prompts.parent.mkdir()
        shutil.copy(find_prompt_file(PROMPTS), self.prompts)
        self._config = directory / "config.toml"
        self._config.write_text(self._text(model), encoding="utf-8")
        self.settings: Settings = load_settings(self._config)
        assert self.settings.plc is not None
        self.plc = self.settings.plc
        self.settings.paths.state.mkdir()
        self.supervisor = Supervisor(directory)
        self.every_turn: list[Callable[[], None]] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._sockets = Sockets()
        endpoints = [
            *map(self.settings.camera_endpoint, self.lines),
            *map(self.settings.detector_endpoint, self.settings.detectors()),
            self.settings.results_endpoint(),
        ]
        self.witness = Witness(self._sockets.subscriber(endpoints, [b"frame/", b"beat/"], VERDICT_HWM))

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop_all()
        self.proxy.__exit__()
        self._sockets.__exit__(None, None, None)

    @property
    def detector(self) -> str:
        """The name of the detector's unit."""
        return _DETECTOR

    @property
    def results(self) -> str:
        """The name of the results service's unit."""
        return _RESULTS

    def start(self) -> None:
        """Start everything; returns when all services are READY."""
        config = ("--config", str(self._config))
        plc = ("edge.plc.simulator", "--port", str(self._plc_port), "--history", str(self.history))
        self._add(_PLC, *plc)
        self._add(_RESULTS, "edge.results.main", *config)
        self._add(_DETECTOR, "edge.detector.main", *config, "--name", *self.settings.detectors())
        # Parts that come before would only be told lost.
        self.watch(lambda: bool(self.witness.ready_ns), READY_TIMEOUT_S, "READY of the detector")
        for line in self.lines:
            self._add(camera_unit(line), "edge.camera.main", *config, "--line", line)
        self.watch(self.all_ready, READY_TIMEOUT_S, "READY of all services")

    def watch(self, until: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Supervise and look at the sockets until something holds.

        Raises:
            Fault: it does not hold in time.
        """
        end_s = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > end_s:
                ends = "\n".join(
                    f"{end.unit} ended with {end.code}:\n{end.log}" for end in self.supervisor.uncaused
                )
                raise Fault("chaos_not_settled", f"no {what} within {timeout_s:g} s {ends}")
            self.watch_for(_POLL_MS / 1000)

    def watch_for(self, seconds: float) -> None:
        """Supervise and look at the sockets for so long."""
        end_s = time.monotonic() + seconds
        while True:
            self.supervisor.follow()
            self.witness.look(_POLL_MS)
            self._follow_timers()
            for follow in self.every_turn:
                follow()
            if time.monotonic() >= end_s:
                return

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something so many seconds from now, while the plant is watched."""
        self._timers.append((time.monotonic() + seconds, action))

    def is_quiet(self) -> bool:
        """Whether nothing is still to be done."""
        return not self._timers

    def _follow_timers(self) -> None:
        now_s = time.monotonic()
        due = [action for at_s, action in self._timers if at_s <= now_s]
        self._timers = [timer for timer in self._timers if timer[0] > now_s]
        for action in due:
            action()

    def all_ready(self) -> bool:
        """Whether the present start of every service has lately said READY of every line."""
        return all(
            self._is_ready(service, line)
            for service in ("camera", _DETECTOR, _RESULTS)
            for line in self.lines
        )

    def _is_ready(self, service: str, line: str) -> bool:
        unit = self.supervisor.units[camera_unit(line) if service == "camera" else service]
        # What a killed start said last is still fresh for a moment.
        since_s = max(unit.started_s, time.monotonic() - _FRESH_S)
        heard_s = self.witness.heard_s.get((service, line), 0.0)
        return unit.runs and heard_s > since_s and self.witness.state[service, line][1] is ServiceState.READY

    def finish(self) -> None:
        """Stop the cameras, wait until the record holds what they captured or grows no more, and keep it."""
        for line in self.lines:
            self.supervisor.stop(camera_unit(line))
        self.watch_for(0.5)
        patience_s = 3 * self._pace.no_verdict_after_ms / 1000
        last, since_s = -1, time.monotonic()
        while time.monotonic() - since_s < patience_s:
            rows = len(self.record())
            if rows != last:
                last, since_s = rows, time.monotonic()
            if rows >= sum(self.witness.captured.values()):
                break
            self.watch_for(0.2)
        self.supervisor.stop(_DETECTOR)
        self.supervisor.stop(_RESULTS)
        with (
            closing(sqlite3.connect(self.settings.database)) as record,
            closing(sqlite3.connect(self.directory / "record.sqlite")) as kept,
        ):
            record.backup(kept)

    def record(self) -> list[Row]:
        """Every verdict of the record."""
        query = "SELECT line, epoch, seq, result, part_id, score, threshold FROM verdicts ORDER BY id"
        with closing(read_only(self.settings.database)) as connection:
            return [
                Row(
                    line,
                    epoch,
                    seq,
                    result,
                    part_number(part_id),
                    scaled_score(score),
                    scaled_score(threshold),
                )
                for line, epoch, seq, result, part_id, score, threshold in connection.execute(query)
            ]

    def shown(self) -> list[Shown]:
        """Every write of a line's registers that reached the PLC."""
        addresses = {
            image_address(self.plc.base, self.settings.lines[line].index): line for line in self.lines
        }
        requests = map(json.loads, self.history.read_text(encoding="utf-8").splitlines())
        return [
            Shown(addresses[request["address"]], request["mono_ns"], decode_image(request["registers"]))
            for request in requests
            if request["address"] in addresses
        ]

    def _add(self, name: str, module: str, *arguments: str) -> None:
        self.supervisor.add(name, sys.executable, "-m", module, *arguments)

    def _text(self, model: ModelName) -> str:
        plan = LinePlan(
            self._pace.sources,
            model,
            with_plc=True,
            threads=1,
            line_keys={"max_age_ms": self._pace.max_age_ms},
            results_keys={"no_verdict_after_ms": self._pace.no_verdict_after_ms, "evidence_max_mb": 1},
            prompts=self.prompts.parent,
        )
        tiny = write_tiny_model(self.directory / "model") if model == "tiny" else None
        return config_text(plan, tiny, self.proxy.port)
