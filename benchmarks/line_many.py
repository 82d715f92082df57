"""One detector with many lines, and the lines shared out to two: throughput, latency, memory.

Each line is free-running (`overload = "latest"`), 640 x 480; the cameras of all lines are one process
(benchmarks/line_feeder.py). First more parts come than can be judged: what is judged a second is the
throughput. Then 70 % of that come: latency from capture to the verdict in this process.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.line_figures import Percentiles, overheads
from benchmarks.line_plant import FREE_RUNNING, LinePlan, ModelName, Plant, Value
from benchmarks.line_resources import resources_of
from benchmarks.suite import Benchmark, Effort, Row
from edge.processes import ProcessSpec

_LINES = (1, 4, 16, 64)
# Parts a second, over all lines, that no machine of two cores judges; not more, as feeding costs time too.
_FLOOD_HZ: dict[ModelName, float] = {"tiny": 400.0, "alfa-mini": 40.0}
_LOAD = 0.7
_SETTLE_S = 2.0
# What two processes share out: as many threads in all as one process of the comparison has.
_THREADS = 2
_SHARED_LINES = 4
_FEEDER = "cameras"


@dataclass(frozen=True, slots=True)
class Load:
    """What a plant of many lines came to.

    Attributes:
        throughput_hz: parts judged a second when more come.
        latency: milliseconds from capture to verdict at 70 % of that.
        skipped: of the frames that came then, those that gave way to newer ones.
        rss_mb: of each process at the end.
    """

    throughput_hz: float
    latency: Percentiles
    skipped: int
    rss_mb: dict[str, float]

    @property
    def detectors_mb(self) -> float:
        """Of all detectors together."""
        return sum(size for name, size in self.rss_mb.items() if name.startswith("detector"))


def run(effort: Effort) -> list[Row]:
    """Every number of lines on both models, then one detector against two."""
    seconds = 1.0 if effort.quick else effort.seconds
    rows: list[Row] = []
    for model in _FLOOD_HZ:
        loads = {lines: measured(model, lines, seconds) for lines in _LINES}
        for lines, load in loads.items():
            rows += _rows(f"{model}, {lines} line{'s' if lines > 1 else ''}", load, loads[_LINES[0]])
        rows += _shared_out(model, seconds)
    return rows


def measured(
    model: ModelName, lines: int, seconds: float, detectors: int = 1, threads: int = _THREADS
) -> Load:
    """Start a plant, flood it, then load it to 70 %.

    Args:
        model: of all detectors.
        lines: shared out to the detectors in turn.
        seconds: of each of the two loads.
        detectors: processes.
        threads: of each.
    """
    # Never opened: the feeder stands in for all cameras.
    source: dict[str, Value] = {"kind": "synthetic"}
    names = [f"line{number}" for number in range(lines)]
    plan = LinePlan(dict.fromkeys(names, source), model, detectors, threads, line_keys=FREE_RUNNING)
    with tempfile.TemporaryDirectory(prefix="line-") as directory, Plant(Path(directory), plan) as plant:
        plant.start_results()
        plant.start_detectors()
        throughput_hz = _judged_a_second(plant, _FLOOD_HZ[model], seconds)
        return _loaded(plant, throughput_hz, seconds)


def _judged_a_second(plant: Plant, rate_hz: float, seconds: float) -> float:
    _feed(plant, rate_hz)
    received = plant.listen_for(seconds)
    plant.processes.stop(_FEEDER)
    return len(overheads(received)) / seconds


def _loaded(plant: Plant, throughput_hz: float, seconds: float) -> Load:
    _feed(plant, max(_LOAD * throughput_hz, 0.1))
    skipped_before = plant.listener.counted("detector", "skipped")
    latency = Percentiles.of([part.latency for part in overheads(plant.listen_for(seconds))])
    skipped = plant.listener.counted("detector", "skipped") - skipped_before
    rss_mb = {name: resources_of(pid).rss_mb for name, pid in plant.processes.ids.items()}
    return Load(throughput_hz, latency, skipped, rss_mb)


def _feed(plant: Plant, rate_hz: float) -> None:
    """Start the cameras; returns when verdicts have come for a moment."""
    before = len(plant.listener.verdicts)
    command = (sys.executable, "-m", "benchmarks.line_feeder", "--config", str(plant.config))
    plant.processes.start(ProcessSpec(_FEEDER, (*command, "--rate", f"{rate_hz:.3f}")))
    plant.listen(lambda: len(plant.listener.verdicts) > before, 120, "verdict")
    plant.listen_for(_SETTLE_S)


def _rows(label: str, load: Load, one_line: Load) -> list[Row]:
    ratio = load.throughput_hz / one_line.throughput_hz if load is not one_line else None
    others = ", ".join(f"{name} {size:.0f}" for name, size in load.rss_mb.items() if "detector" not in name)
    skipped = f"{load.latency.count} parts, {load.skipped} skipped"
    return [
        Row(f"{label}: throughput", load.throughput_hz, "parts/s", ratio, "one line" if ratio else ""),
        Row(f"{label}: latency at 70 %, p50", load.latency.p50, "ms", note=skipped),
        Row(f"{label}: latency at 70 %, p99", load.latency.p99, "ms"),
        Row(f"{label}: detector's memory", load.detectors_mb, "MiB", note=f"others: {others}"),
    ]


def _shared_out(model: ModelName, seconds: float) -> list[Row]:
    """As many threads in all: in one process, and shared out to two; and what one thread alone gives."""
    single = measured(model, _SHARED_LINES, seconds, detectors=1, threads=1)
    together = measured(model, _SHARED_LINES, seconds, detectors=1, threads=_THREADS)
    apart = measured(model, _SHARED_LINES, seconds, detectors=_THREADS, threads=1)
    label = f"{model}, {_SHARED_LINES} lines"
    base = "1 detector x 1 thread"
    return [
        Row(f"{label}, {base}: throughput", single.throughput_hz, "parts/s"),
        *(
            Row(
                f"{label}, {shape}: throughput",
                load.throughput_hz,
                "parts/s",
                load.throughput_hz / single.throughput_hz,
                base,
                note=f"{load.detectors_mb:.0f} MiB; at 70 %: p99 {load.latency.p99:.0f} ms",
            )
            for shape, load in (
                (f"1 detector x {_THREADS} threads", together),
                (f"{_THREADS} detectors x 1 thread", apart),
            )
        ),
    ]


BENCHMARK = Benchmark("line_many", "Many lines on one box", run)
