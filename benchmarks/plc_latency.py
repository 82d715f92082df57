"""Verdict published -> registers changed: real processes, a real Modbus server on loopback.

    published   the detector's own clock at publication (`captured_mono_ns` + `timings.total`)
    recorded    the results service's transaction is on disk when it tells the PLC
    changed     the Modbus server's clock when it takes the write, inside the server's process

All are CLOCK_MONOTONIC of one machine. The record's commit waits for the disk, so the disk's own
`fdatasync` of one page is measured beside it, in the directory of the record.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.line_figures import Percentiles, milliseconds
from benchmarks.line_pictures import write_pictures
from benchmarks.line_plant import LinePlan, Plant, Received, Value
from benchmarks.suite import Benchmark, Effort, Row
from edge.clocks import NS_PER_MS
from edge.messages import Verdict
from edge.plc.registers import IMAGE_LENGTH, decode_image, image_address

_RATE_HZ = 10.0
_SETTLE_S = 2.0
_SYNCS, _QUICK_SYNCS = 200, 20
_PAGE = bytes(4096)
_TARGET = "<= 20"


def published_ns(verdict: Verdict) -> int:
    """CLOCK_MONOTONIC at publication."""
    return verdict.captured_mono_ns + round(verdict.timings.total * NS_PER_MS)


def shown_ns(history: Iterable[str], address: int) -> dict[int, int]:
    """When the registers of one line first showed the result of each seq.

    Args:
        history: lines of the simulator's `--history`.
        address: first register of the line's block.
    """
    first: dict[int, int] = {}
    for request in map(json.loads, history):
        if request["address"] == address and len(request["registers"]) == IMAGE_LENGTH:
            image = decode_image(request["registers"])
            if image.result_valid:
                first.setdefault(image.seq, request["mono_ns"])
    return first


def published_to_shown(received: Sequence[Received], shown: dict[int, int]) -> list[float]:
    """Milliseconds of each verdict that the PLC was shown."""
    verdicts = [each.verdict for each in received]
    return [
        milliseconds(published_ns(verdict), shown[verdict.seq])
        for verdict in verdicts
        if verdict.seq in shown
    ]


def sync_times(directory: Path, times: int) -> list[float]:
    """Milliseconds that the disk takes for one page, written and synced, again and again."""
    taken: list[float] = []
    with (directory / "probe").open("wb") as stream:
        for _ in range(times):
            begun = time.perf_counter_ns()
            stream.write(_PAGE)
            stream.flush()
            os.fdatasync(stream.fileno())
            taken.append(milliseconds(begun, time.perf_counter_ns()))
    return taken


def run(effort: Effort) -> list[Row]:
    """One line and eight lines at 10 parts a second each, on a model that costs next to nothing."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="line-") as temporary:
        syncs = Percentiles.of(sync_times(Path(temporary), _QUICK_SYNCS if effort.quick else _SYNCS))
        rows += syncs.rows("disk alone: fdatasync of a page", note="what a commit cannot be faster than")
    for lines in (1,) if effort.quick else (1, 8):
        rows += _measured(lines, 2.0 if effort.quick else 2 * effort.seconds)
    return rows


def _measured(lines: int, seconds: float) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="line-") as temporary:
        directory = Path(temporary)
        pictures = write_pictures(directory / "parts", 320, 240)
        source: dict[str, Value] = {
            "kind": "folder",
            "path": str(pictures),
            "loop": True,
            "rate_hz": _RATE_HZ,
        }
        names = [f"line{number}" for number in range(lines)]
        with Plant(directory, LinePlan(dict.fromkeys(names, source), with_plc=True, threads=1)) as plant:
            plant.start_plc()
            plant.start_results()
            plant.start_detectors()
            plant.start_cameras()
            plant.listen(lambda: plant.listener.ready("results", plant.lines), 60, "results READY")
            plant.listen_for(_SETTLE_S)
            received = plant.listen_for(seconds)
            # So that the last of them are shown, too.
            plant.listen_for(_SETTLE_S / 2)
            not_shown = plant.listener.counted("results", "not_shown")
        latencies = _latencies(plant, received)
    label = f"{lines} line{'s' if lines > 1 else ''} at {_RATE_HZ:g} parts/s"
    missing = f"{len(received) - len(latencies)} verdicts never seen by the PLC, {not_shown} not shown"
    return Percentiles.of(latencies).rows(f"{label}: verdict -> register", _TARGET, missing)


def _latencies(plant: Plant, received: Sequence[Received]) -> list[float]:
    history = plant.plc_history.read_text(encoding="utf-8").splitlines()
    latencies: list[float] = []
    for name, line in plant.settings.lines.items():
        of_line = [each for each in received if each.verdict.line == name]
        latencies += published_to_shown(of_line, shown_ns(history, image_address(0, line.index)))
    return latencies


BENCHMARK = Benchmark("plc_latency", "Verdict to PLC register on loopback", run)
