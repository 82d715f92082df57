"""Capture -> verdict received by a subscriber, minus inference: camera, detector and results as processes.

What is counted: from the camera's time stamp of the picture (taken when the source hands it over, before it
is published) to the moment a subscriber of this process has the verdict, less `timings.infer` of the part's
own batch. So transport of 6 MB, decoding, waiting for a batch to fill, resizing, scoring's end, encoding and
the way of the verdict all count. Time that the part waited because an earlier batch was still inferred counts
too and is told apart in a row of its own: on a line that is slower than its camera it is all there is.

Two models: one whose inference is next to nothing, at 30 parts a second; and alfa-mini, at a rate below what
this machine sustains, which is measured first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.line_figures import Overhead, Percentiles, overheads
from benchmarks.line_pictures import write_pictures
from benchmarks.line_plant import FREE_RUNNING, LinePlan, ModelName, Plant, Received, Value
from benchmarks.suite import Benchmark, Effort, Row

_LINE = "line"
_RATE_HZ = 30.0
_WIDTH, _HEIGHT = 1920, 1080
_TARGET = "<= 10"
# Of the rate that the machine sustains: a line is laid out with some room.
_LOAD = 0.7
_SETTLE_S, _SUSTAINED_S = 2.0, 6.0


def run(effort: Effort) -> list[Row]:
    """Both models, one after the other."""
    seconds = 2.0 if effort.quick else 3 * effort.seconds
    rows = _rows(f"1080p at {_RATE_HZ:g}/s, tiny model", _measured("tiny", _RATE_HZ, seconds), _TARGET)
    sustained_hz = _sustained_hz("alfa-mini", 2.0 if effort.quick else _SUSTAINED_S)
    rows.append(Row("alfa-mini, sustained", sustained_hz, "parts/s", note=f"camera at {_RATE_HZ:g}/s"))
    rate_hz = min(_LOAD * sustained_hz, _RATE_HZ)
    return rows + _rows(
        f"1080p at {rate_hz:.1f}/s, alfa-mini", _measured("alfa-mini", rate_hz, seconds), _TARGET
    )


def _rows(label: str, parts: Sequence[Overhead], target: str) -> list[Row]:
    rows = Percentiles.of([part.line for part in parts]).rows(f"{label}: overhead", target)
    rows.append(_p99(f"{label}: waited for other batches' inference", [part.queueing for part in parts]))
    rows.append(_p99(f"{label}: own inference", [part.infer for part in parts]))
    rows.append(_p99(f"{label}: capture to verdict", [part.latency for part in parts]))
    return rows


def _p99(what: str, sample: Sequence[float]) -> Row:
    found = Percentiles.of(sample)
    return Row(f"{what}, p99", found.p99, "ms", note=f"p50 {found.p50:.2f}, max {found.highest:.2f}")


def _measured(model: ModelName, rate_hz: float, seconds: float) -> list[Overhead]:
    with tempfile.TemporaryDirectory(prefix="line-") as directory:
        return overheads(_received(Path(directory), model, rate_hz, seconds, {}))


def _sustained_hz(model: ModelName, seconds: float) -> float:
    """Parts a second that one line gets judged when its camera is faster and only the newest counts."""
    with tempfile.TemporaryDirectory(prefix="line-") as directory:
        received = _received(Path(directory), model, _RATE_HZ, seconds, FREE_RUNNING)
    return len(overheads(received)) / seconds


def _received(
    directory: Path, model: ModelName, rate_hz: float, seconds: float, line_keys: dict[str, Value]
) -> list[Received]:
    pictures = write_pictures(directory / "parts", _WIDTH, _HEIGHT)
    source: dict[str, Value] = {"kind": "folder", "path": str(pictures), "loop": True, "rate_hz": rate_hz}
    with Plant(directory, LinePlan({_LINE: source}, model, line_keys=line_keys)) as plant:
        plant.start_results()
        plant.start_detectors()
        plant.start_cameras()
        plant.listen(lambda: bool(plant.listener.verdicts), 180, "verdict")
        plant.listen_for(_SETTLE_S)
        return plant.listen_for(seconds)


BENCHMARK = Benchmark("line_latency", "Line latency beyond inference", run)
