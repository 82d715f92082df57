"""A whole line as real processes on this machine: config, camera, detector, results, PLC, and a listener."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import zmq

from alfa.errors import Fault
from alfa.prompting.promptset import find_prompt_file
from benchmarks.line_model import write_tiny_model
from edge.messages import Beat, ServiceState, Verdict, decode_beat, decode_verdict
from edge.processes import Processes, ProcessSpec, free_port, script
from edge.settings import Settings, load_settings
from edge.sockets import VERDICT_HWM, Socket, Sockets, receive

ModelName = Literal["tiny", "alfa-mini"]
Value = str | int | float | bool

# Keys of a line whose camera is faster than the detector: only the newest part counts, none is a FAULT.
FREE_RUNNING: dict[str, Value] = {"overload": "latest", "free_running": True}
READY_TIMEOUT_S = 180.0
# Alarms and banks are not measured here: any prompt set of the project will do.
_PROMPTS = "metal_plate"
_POLL_MS = 100


@dataclass(frozen=True, slots=True)
class LinePlan:
    """What the plant looks like.

    Attributes:
        sources: the `source` table of each line, by name.
        model: `tiny` costs next to nothing; `alfa-mini` is the embedded one.
        detectors: processes that the lines are shared out to, in turn.
        threads: `model.threads` of each.
        with_plc: a Modbus server in a process of its own, and the results service drives it.
        line_keys: further keys of every line.
        detector_keys: of the `[detector]` table.
        results_keys: of the `[results]` table.
        prompts: directory with the lines' prompt file; None for the project's own.
    """

    sources: Mapping[str, Mapping[str, Value]]
    model: ModelName = "tiny"
    detectors: int = 1
    threads: int = 0
    with_plc: bool = False
    line_keys: Mapping[str, Value] = field(default_factory=dict)
    detector_keys: Mapping[str, Value] = field(default_factory=dict)
    results_keys: Mapping[str, Value] = field(default_factory=dict)
    prompts: Path | None = None


def config_text(plan: LinePlan, model: Path | None, plc_port: int | None) -> str:
    """config.toml of a plan; `model` is the directory of its weights, None for the embedded ones."""
    longest_ms = int(plan.line_keys.get("max_age_ms", 10_000))
    tables: dict[str, Mapping[str, Value]] = {
        "model": {"threads": plan.threads} | ({} if model is None else {"pretrained": str(model)}),
        "paths": {"prompts": str(plan.prompts or find_prompt_file(_PROMPTS).resolve().parent)},
        "detector": plan.detector_keys,
        "results": {"no_verdict_after_ms": longest_ms + 5000, **plan.results_keys},
    }
    if plc_port is not None:
        tables["plc"] = {"port": plc_port}
    for index, (name, source) in enumerate(plan.sources.items()):
        # Registers are for 31 lines; without a PLC nobody reads `index`.
        block = {"index": index} if plan.with_plc else {}
        detector = f"d{index % plan.detectors}"
        tables[f"lines.{name}"] = {"prompts": _PROMPTS, "detector": detector, **block, **plan.line_keys}
        tables[f"lines.{name}.source"] = source
    return "\n".join(_table(name, values) for name, values in tables.items())


def _table(name: str, values: Mapping[str, Value]) -> str:
    # A JSON string, number or boolean is a TOML one too.
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


@dataclass(frozen=True, slots=True)
class Received:
    """A verdict, and when this process had it: CLOCK_MONOTONIC, the same for all processes of the box."""

    verdict: Verdict
    mono_ns: int


@dataclass(slots=True)
class Listener:
    """A subscriber to verdicts and beats of the whole box, as any may be.

    Attributes:
        verdicts: of all lines, in the order of arrival.
        beats: the last one of each service and line.
    """

    socket: Socket
    verdicts: list[Received] = field(default_factory=list)
    beats: dict[tuple[str, str], Beat] = field(default_factory=dict)

    @classmethod
    def subscribed(cls, sockets: Sockets, settings: Settings) -> Self:
        """A listener to every endpoint of the settings."""
        endpoints = [
            *map(settings.detector_endpoint, settings.detectors()),
            *map(settings.camera_endpoint, settings.lines),
            settings.results_endpoint(),
        ]
        return cls(sockets.subscriber(endpoints, [b"verdict/", b"beat/"], VERDICT_HWM))

    def take(self, wait_ms: int = _POLL_MS) -> None:
        """Take what is there; waits for the first message."""
        self.socket.poll(wait_ms, zmq.POLLIN)
        while (parts := receive(self.socket)) is not None:
            # First: what decoding costs is not the line's.
            now_ns = time.monotonic_ns()
            if bytes(parts[0]).startswith(b"verdict/"):
                self.verdicts.append(Received(decode_verdict(parts), now_ns))
            else:
                beat = decode_beat(parts)
                self.beats[beat.service, beat.line] = beat

    def ready(self, service: str, lines: Sequence[str]) -> bool:
        """Whether a service has said READY of all these lines."""
        return all(
            (beat := self.beats.get((service, line))) is not None and beat.state is ServiceState.READY
            for line in lines
        )

    def counted(self, service: str, name: str) -> int:
        """A counter of a service, as of its last beats, over all lines."""
        return sum(
            beat.counters.get(name, 0) for (told_by, _), beat in self.beats.items() if told_by == service
        )


class Plant:
    """The processes of a plan; leaving the `with` block stops them all.

    Args:
        directory: for config, state, sockets and logs; its path must be short enough for sockets.
        plan: what to start.
    """

    def __init__(self, directory: Path, plan: LinePlan) -> None:
        self.directory = directory
        self.plan = plan
        self.lines = tuple(plan.sources)
        self.plc_history = directory / "plc.jsonl"
        self._port = free_port() if plan.with_plc else None
        model = write_tiny_model(directory / "model") if plan.model == "tiny" else None
        self.config = directory / "config.toml"
        self.config.write_text(config_text(plan, model, self._port), encoding="utf-8")
        self.settings = load_settings(self.config)
        self._sockets = Sockets()
        self.listener = Listener.subscribed(self._sockets, self.settings)
        self.processes = Processes(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.processes.stop_all()
        self._sockets.__exit__(kind, error, trace)

    def start_plc(self) -> None:
        """The Modbus server; every request that sets registers goes to `plc_history`."""
        command = (sys.executable, "-m", "edge.plc.simulator", "--port", str(self._port))
        self.processes.start(ProcessSpec("plc", (*command, "--history", str(self.plc_history))))

    def start_results(self) -> None:
        """The results service."""
        self.processes.start(ProcessSpec("results", (script("edge-results"), "--config", str(self.config))))

    def start_detectors(self, *runner: str) -> None:
        """Every detector; returns when all lines are READY.

        Args:
            runner: a command that runs the detector within itself, instead of the console script.
        """
        command = runner or (script("edge-detector"),)
        for name in self.settings.detectors():
            arguments = ("--config", str(self.config), "--name", name)
            self.processes.start(ProcessSpec(f"detector-{name}", (*command, *arguments)))
        self.listen(lambda: self.listener.ready("detector", self.lines), READY_TIMEOUT_S, "detectors READY")

    def start_cameras(self) -> None:
        """One camera process a line; each waits until its detector listens."""
        for line in self.lines:
            arguments = ("--config", str(self.config), "--line", line, "--wait-for-detector")
            self.processes.start(ProcessSpec(f"camera-{line}", (script("edge-camera"), *arguments)))

    def listen(self, until: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Take verdicts and beats until something holds.

        Args:
            until: asked after each look at the socket.
            timeout_s: patience.
            what: is waited for, in words.

        Raises:
            Fault: it does not hold in time, or a process has ended.
        """
        deadline = time.monotonic() + timeout_s
        while not until():
            self.processes.check()
            if time.monotonic() > deadline:
                raise Fault("benchmark_failed", f"no {what} within {timeout_s:g} s")
            self.listener.take()

    def listen_for(self, seconds: float) -> list[Received]:
        """The verdicts of so many seconds from now on."""
        begin, end_s = len(self.listener.verdicts), time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.processes.check()
            self.listener.take(min(_POLL_MS, max(int(1000 * left_s), 1)))
        return self.listener.verdicts[begin:]
