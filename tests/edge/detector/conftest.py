"""A detector under test: the real service on a thread, real sockets, a tiny real model, a camera's end."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import structlog
import torch

from alfa.errors import AlfaError
from alfa.prompting.promptset import PromptSet, to_toml
from alfa.settings import ModelSettings
from edge.camera.publisher import FrameSink
from edge.detector.frame_source import SharedFrame
from edge.detector.service import DetectorService
from edge.heart import Heart
from edge.lifecycle import Lifecycle
from edge.messages import (
    AnomalyMap,
    Beat,
    Frame,
    FrameHeader,
    Lease,
    ServiceState,
    SlotRef,
    Verdict,
    decode_beat,
    decode_map,
    decode_verdict,
    encode_frame,
    frame_topic,
    verdict_topic,
)
from edge.ring import SMALLEST_SHARED_BYTES, FrameRing, RingReader
from edge.settings import Settings, load_settings
from edge.sockets import VERDICT_HWM, Socket, Sockets, receive, send

_PATIENCE_S = 30.0
_SHARED_SIDE = 1024


class _ReusedSlot:
    """A frame in shared memory whose slot the camera may write again, as it never should while it is lent."""

    def __init__(self, stem: Path, header: FrameHeader) -> None:
        self._ring = FrameRing(stem, SMALLEST_SHARED_BYTES)
        self._reader = RingReader(header.line, stem)
        self._ring.follow(self._lease())
        shared = self._reader.pixels(self._place(3))
        pixels = np.frombuffer(shared.view, np.uint8).reshape(_SHARED_SIDE, _SHARED_SIDE, 1)
        layout = replace(header, height=_SHARED_SIDE, width=_SHARED_SIDE, channels=1, colour="grey")
        self.frame = SharedFrame(layout, pixels, shared)

    def overwrite(self) -> None:
        """Put another part's pixels into the slot."""
        self._ring.follow(replace(self._lease(), held=()))
        self._place(4)

    def _lease(self) -> Lease:
        lease = self._reader.lease()
        assert lease is not None
        return lease

    def _place(self, grey: int) -> SlotRef:
        slot = self._ring.place(np.full((_SHARED_SIDE, _SHARED_SIDE, 1), grey, np.uint8))
        assert slot is not None
        return slot


@pytest.fixture
def reused(tmp_path: Path, make_frame: Callable[..., Frame]) -> tuple[Frame, Callable[[], None]]:
    """A frame of 1024 x 1024 grey pixels, and what puts another part's pixels into its slot."""
    slot = _ReusedSlot(tmp_path / "alfa", make_frame(0).header)
    return slot.frame, slot.overwrite


@pytest.fixture
def make_frame() -> Callable[..., Frame]:
    """`make_frame(seq, line="line1", epoch=1, age_ms=0, level=0)`: a grey-blue picture captured just now."""

    def frame(seq: int, line: str = "line1", epoch: int = 1, age_ms: float = 0, level: int = 0) -> Frame:
        pixels = np.full((24, 32, 3), (level, 60, 200), np.uint8)
        header = FrameHeader(
            line=line,
            epoch=epoch,
            seq=seq,
            mono_ns=time.monotonic_ns() - int(age_ms * 1e6),
            wall_ns=time.time_ns(),
            height=24,
            width=32,
            channels=3,
            dtype="uint8",
            colour="rgb",
            part_id=f"part-{seq}",
        )
        return Frame(header, pixels)

    return frame


def prompts_text(class_name: str) -> str:
    """A prompt file's text."""
    return to_toml(
        PromptSet(
            class_name=class_name,
            normal=(f"A normal image of a {class_name} has an even surface.",),
            abnormal=(f"An abnormal image of a {class_name} shows a scratch.",),
            descriptors=("scratch", "dent"),
        )
    )


@dataclass(slots=True)
class Bench:
    """A detector with its surroundings: the test's end of all its sockets, and what was heard so far."""

    directory: Path
    model: ModelSettings
    sockets: Sockets
    lifecycle: Lifecycle
    verdicts: list[Verdict] = field(default_factory=list)
    maps: list[AnomalyMap] = field(default_factory=list)
    beats: dict[str, Beat] = field(default_factory=dict)  # the last one of each line
    ended_with: AlfaError | None = None
    abandoned: bool = False
    _cameras: dict[str, Socket] = field(default_factory=dict)
    _heard: Socket | None = None
    _thread: threading.Thread | None = None
    _settings: Settings | None = None

    def write_prompts(self, name: str, class_name: str) -> None:
        """Make the prompt file of a line."""
        (self.directory / "prompts").mkdir(exist_ok=True)
        (self.directory / "prompts" / f"{name}.toml").write_text(prompts_text(class_name))

    def withhold_prompts(self, name: str) -> None:
        """Make the prompt file a pipe: whoever reads it waits until `write_prompts` or `release_prompts`."""
        (self.directory / "prompts").mkdir(exist_ok=True)
        (self.directory / "prompts" / f"{name}.toml").unlink(missing_ok=True)
        os.mkfifo(self.directory / "prompts" / f"{name}.toml")

    def configure(
        self, *lines: str, line_keys: str = "", detector_keys: str = "", model: ModelSettings | None = None
    ) -> None:
        """Write config.toml with these lines, each with prompts of its own name."""
        values = (model or self.model).model_dump().items()
        text = ["[model]", *(f"{key} = {json.dumps(value)}" for key, value in values)]
        text += ["[detector]", "batch_wait_ms = 0", detector_keys]
        for line in lines:
            text += [f"[lines.{line}]", f'prompts = "{line}"', line_keys]
            text += [f"[lines.{line}.source]", 'kind = "synthetic"']
        self.config.write_text("\n".join(text))

    @property
    def config(self) -> Path:
        """The detector's config.toml."""
        return self.directory / "config.toml"

    def start(self, state: ServiceState = ServiceState.READY) -> None:
        """Start the detector; returns when it is in this state and subscribed to all its cameras."""
        settings = self._settings = load_settings(self.config)
        self._cameras = {
            line: self.sockets.watched_publisher(settings.camera_endpoint(line), 1000)
            for line in settings.lines
        }
        endpoints = [settings.detector_endpoint("main"), settings.maps_endpoint("main")]
        self._heard = self.sockets.subscriber(endpoints, [b""], VERDICT_HWM)
        self._thread = threading.Thread(target=self._serve, args=[settings])
        self._thread.start()
        for line in settings.lines_of("main"):
            assert self._cameras[line].poll(int(_PATIENCE_S * 1000))
        self.listen(lambda: {beat.state for beat in self.beats.values()} == {state})

    def send(self, *frames: Frame, camera: str | None = None) -> None:
        """Publish frames as their lines' cameras do."""
        for frame in frames:
            send(self._cameras[camera or frame.header.line], encode_frame(frame))

    def capture(self, line: str = "line1") -> FrameSink:
        """A camera's own end of a line, to take parts with; of epoch 1, as `make_frame`."""
        return FrameSink(self._cameras[line], Heart("camera", line, 1), structlog.get_logger())

    def verdict_subscriber(self, hwm: int) -> Socket:
        """Somebody else who listens to verdicts."""
        assert self._settings is not None
        endpoint = self._settings.detector_endpoint("main")
        return self.sockets.subscriber([endpoint], [verdict_topic("line1")], hwm)

    def send_parts(self, line: str, *rest: bytes) -> None:
        """Publish any message under a line's topic."""
        send(self._cameras[line], [frame_topic(line), *rest])

    def listen(self, until: Callable[[], bool]) -> None:
        """Take what the detector publishes until the condition holds; fails when it does not in time."""
        assert self._heard is not None
        deadline = time.monotonic() + _PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, f"not in time; verdicts {self.verdicts}, beats {self.beats}"
            if self._heard.poll(100):
                self._take(self._heard)

    def verdict(self, seq: int, line: str = "line1", epoch: int = 1) -> Verdict:
        """The verdict of a part, once it is there."""
        self.listen(lambda: any(heard.key == (line, epoch, seq) for heard in self.verdicts))
        return next(heard for heard in self.verdicts if heard.key == (line, epoch, seq))

    def counter(self, name: str, value: int, line: str = "line1") -> None:
        """Wait until a counter of the beat has this value."""
        self.listen(lambda: line in self.beats and self.beats[line].counters[name] == value)

    def replay_client(self) -> Socket:
        """A socket for replay requests."""
        assert self._settings is not None
        return self.sockets.replay_client(self._settings.replay_endpoint("main"))

    def stop(self) -> None:
        """Stop the detector and take what it still published."""
        self.lifecycle.stop()
        if self._thread is not None:
            self._thread.join(timeout=_PATIENCE_S)
            assert not self._thread.is_alive()
        if self._heard is not None:
            while self._heard.poll(100):
                self._take(self._heard)

    def _serve(self, settings: Settings) -> None:
        log: structlog.stdlib.BoundLogger = structlog.get_logger()
        with Sockets() as sockets:
            service = DetectorService(self.config, settings, "main", self.lifecycle, sockets, log)
            try:
                service.run()
            except AlfaError as error:
                self.ended_with = error
            self.abandoned = service.has_abandoned_work

    def _take(self, socket: Socket) -> None:
        parts = receive(socket)
        assert parts is not None
        topic = bytes(parts[0])
        if topic.startswith(b"verdict/"):
            self.verdicts.append(decode_verdict(parts))
        elif topic.startswith(b"map/"):
            self.maps.append(decode_map(parts))
        else:
            beat = decode_beat(parts)
            self.beats[beat.line] = beat


@pytest.fixture
def bench(runtime_dir: Path, tiny_settings: ModelSettings) -> Iterator[Bench]:
    """A bench with `line1` configured and its prompts written; not started."""
    with Lifecycle() as lifecycle, Sockets() as sockets:
        bench = Bench(runtime_dir, tiny_settings, sockets, lifecycle)
        bench.write_prompts("line1", "plate")
        bench.configure("line1")
        yield bench
        bench.stop()


@pytest.fixture
def inference_gate() -> Iterator[threading.Event]:
    """While cleared, every module of every torch model waits before its forward pass."""
    gate = threading.Event()
    gate.set()

    def wait(module: torch.nn.Module, inputs: object) -> None:
        assert gate.wait(_PATIENCE_S)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(wait)
    yield gate
    gate.set()
    hook.remove()
