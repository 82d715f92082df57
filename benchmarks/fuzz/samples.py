"""Valid messages and files of every kind, made by our own encoders."""

from __future__ import annotations

import dataclasses
import io
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alfa.calibration import Calibration
from alfa.distances import level_name
from alfa.foreground import Foreground
from alfa.memory import MemoryBank
from alfa.teaching import Taught
from alfa.windows import Grid
from edge.messages import (
    AnomalyMap,
    Beat,
    FaultReason,
    FrameHeader,
    Lease,
    MapHeader,
    Reason,
    Region,
    Result,
    ServiceState,
    Timings,
    Verdict,
    missing_verdict,
)

LINE = "line1"
EPOCH = 0x1234567890
CONFIG = """
[model]
name = "alfa-mini"
[paths]
prompts = "prompts"
state = "var"
runtime = "run"
[detector]
max_batch = 8
batch_wait_ms = 5.0
[results]
no_verdict_after_ms = 15000
[plc]
host = "192.168.0.10"
port = 502
[llm]
base_url = "http://127.0.0.1:8000/v1"
[lines.plate]
prompts = "metal_plate"
recipe = 1
bank = "var/plate.safetensors"
max_side = 1024
[lines.plate.source]
kind = "synthetic"
rate_hz = 2.0
[lines.plate.alarm]
k = 1
n = 3
[lines.nut]
prompts = "metal_nut"
index = 1
[lines.nut.source]
kind = "device"
device = "/dev/video0"
"""


def encoded(image: Image.Image, kind: str) -> bytes:
    """An image file of this format."""
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def slot_file(stamp: int, pixels: bytes) -> bytes:
    """As `edge.ring` lays it out: the stamp at the begin of a page of its own, then the pixels."""
    return stamp.to_bytes(8, "little").ljust(4096, b"\0") + pixels


def frame_header() -> FrameHeader:
    """Of a part in colour, captured just now."""
    return FrameHeader(
        line=LINE,
        epoch=EPOCH,
        seq=41,
        mono_ns=time.monotonic_ns(),
        wall_ns=time.time_ns(),
        height=7,
        width=9,
        channels=3,
        dtype="uint8",
        colour="rgb",
        part_id="part-41",
        trigger="encoder",
        boot="0123456789abcdef",
    )


def verdicts() -> list[Verdict]:
    """NG, OK and FAULT of three parts in a row."""
    judged = Verdict(
        line=LINE,
        epoch=EPOCH,
        seq=41,
        part_id="4711",
        result=Result.NG,
        score=0.75,
        threshold=0.5,
        calibrated=True,
        s_global=0.5,
        s_local_max=1.0,
        region=Region(3, 4, 10, 12, 77),
        reasons=(Reason("a scratch", 0.25), Reason("rust", 0.125)),
        prompts="0123456789abcdef",
        bank="0123456789abcdef",
        model="0123456789abcdef",
        calibration="0123456789abcdef",
        recipe=7,
        timings=Timings(1.5, 2.5, 30.0, 1.0, 40.0),
        captured_wall_ns=time.time_ns(),
        captured_mono_ns=time.monotonic_ns(),
        published_wall_ns=time.time_ns(),
        published_mono_ns=time.monotonic_ns(),
        judged_by="main",
    )
    good = dataclasses.replace(judged, seq=42, result=Result.OK, score=0.25, region=None, reasons=())
    return [judged, good, missing_verdict(LINE, EPOCH, 43, FaultReason.FRAME_LOST, "never arrived")]


def maps() -> list[AnomalyMap]:
    """Of a part that was judged, and of one that was not."""
    header = MapHeader(LINE, EPOCH, 41, Result.NG, height=6, width=5, captured_height=48, captured_width=40)
    jpeg = encoded(Image.new("RGB", (16, 16), (120, 90, 30)), "jpeg")
    empty = dataclasses.replace(header, height=0, width=0, result=Result.FAULT)
    return [
        AnomalyMap(header, np.full((6, 5), 0.5, np.float16), jpeg),
        AnomalyMap(empty, np.empty((0, 0), np.float16), jpeg),
    ]


def beats() -> list[Beat]:
    """One of each service, the camera's first."""
    counters = {"captured": 50, "judged": 49, "queue": 1, "strays": 0}
    camera = Beat("camera", LINE, ServiceState.READY, EPOCH, counters, 49, "", time.time_ns(), 1234)
    return [
        camera,
        dataclasses.replace(camera, service="detector", state=ServiceState.FAULT, last_error="model_error"),
        dataclasses.replace(camera, service="results", counters={}),
    ]


def tally_file() -> bytes:
    """As `edge.camera.tally` lays it out: epoch and count of two starts."""
    return struct.pack("<4Q", EPOCH, 50, 77, 12)


def leases() -> list[Lease]:
    """Before the first shared frame, and after some."""
    return [Lease(LINE, 99), Lease(LINE, 99, 77, 12, (10, 12))]


def calibration() -> bytes:
    """A file of thresholds."""
    thresholds = Calibration(
        n=20,
        alpha=0.05,
        score_median=0.25,
        score_threshold=0.5,
        map_median=0.25,
        map_threshold=0.75,
        weights_hash="0123456789abcdef",
        prompts_hash="0123456789abcdef",
        bank_hash="",
        method_hash="0123456789abcdef",
    )
    return thresholds.model_dump_json(indent=2).encode()


@dataclass(frozen=True, slots=True)
class _Taught:
    """What names the model that a bank is of."""

    model_id: str = "alfa-mini"
    weights_hash: str = "0123456789abcdef"
    preprocess_hash: str = "0123456789abcdef"
    grid: Grid = field(default_factory=lambda: Grid(2, 3))
    patch_blocks: tuple[int, ...] = (6, 12)


def bank(path: Path) -> bytes:
    """A small bank, written as a real one is."""
    rows = torch.nn.functional.normalize(torch.ones(6, 4), dim=1).half()
    foreground = Foreground(torch.ones(4), torch.zeros(4), torch.ones(2, 3))
    taught = Taught({level_name(block): rows.clone() for block in _Taught().patch_blocks}, 0.25, foreground)
    MemoryBank.of(taught, _Taught(), ["0123456789abcdef"]).save(path)
    return path.read_bytes()
