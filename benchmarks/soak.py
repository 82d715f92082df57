"""Full load for a while: `python -m benchmarks.soak --minutes 20`. Exit 1 where a target is missed.

Cameras, detector, results and a PLC run as processes; bounded buffers (history, evidence) are made so small
that they are full before the warm-up, a fifth of the time, is over: what grows after that is a leak. Memory,
threads and files of each process are looked at every few seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from alfa.cli.entry import run
from alfa.errors import BadInput
from benchmarks.line_figures import milliseconds
from benchmarks.line_pictures import write_pictures
from benchmarks.line_plant import LinePlan, ModelName, Plant, Received, Value
from benchmarks.line_resources import Resources, resources_of
from edge.results.reader import read_only

_RATE_HZ: dict[ModelName, float] = {"tiny": 20.0, "alfa-mini": 2.0}
_WARM_UP = 0.2
_SAMPLE_S = 2.0
_EVIDENCE_MB = 5
_BYTES_PER_MB = 1_000_000
_DRAIN_S = 60.0
_MOST_MB_A_MINUTE = 1.0
_MOST_LATENCY_GROWTH = 0.05
_S_PER_MIN = 60.0

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all processes: seconds since the start, and what each holds."""

    at_s: float
    processes: dict[str, Resources]


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure with its target."""

    what: str
    figure: str
    target: str
    met: bool


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 20.0,
    lines: Annotated[int, typer.Option(min=1, max=16, help="Cameras.")] = 2,
    model: Annotated[str, typer.Option(help="alfa-mini or tiny.")] = "alfa-mini",
    rate: Annotated[float, typer.Option(min=0.0, help="Parts a second of a line; 0 chooses.")] = 0.0,
) -> None:
    """Run the line at load and look for what grows."""
    if model not in _RATE_HZ:
        raise BadInput("soak", "--model", model, f"is not one of {', '.join(_RATE_HZ)}")
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        findings = _findings(Path(directory), model, lines, rate or _RATE_HZ[model], minutes * _S_PER_MIN)
    Console().print(_table(f"{minutes:g} minutes, {lines} lines, {model}", findings))
    if not all(finding.met for finding in findings):
        raise typer.Exit(1)


def _findings(directory: Path, model: ModelName, lines: int, rate_hz: float, seconds: float) -> list[Finding]:
    pictures = write_pictures(directory / "parts", 640, 480)
    source: dict[str, Value] = {"kind": "folder", "path": str(pictures), "loop": True, "rate_hz": rate_hz}
    plan = LinePlan(
        dict.fromkeys([f"line{number}" for number in range(lines)], source),
        model,
        with_plc=True,
        detector_keys={"history": 100},
        results_keys={"evidence_max_mb": _EVIDENCE_MB},
    )
    hooks_file = directory / "hooks"
    with Plant(directory, plan) as plant:
        plant.start_plc()
        plant.start_results()
        plant.start_detectors(sys.executable, "-m", "benchmarks.line_probe", str(hooks_file))
        plant.start_cameras()
        plant.listen(lambda: plant.listener.ready("results", plant.lines), 120, "results READY")
        _watched(plant, _WARM_UP * seconds)
        hooks_before = _hooks(plant, hooks_file)
        warm = len(plant.listener.verdicts)
        samples = _watched(plant, (1 - _WARM_UP) * seconds)
        hooks_after = _hooks(plant, hooks_file)
        received = plant.listener.verdicts[warm:]
        return [
            *_growth(samples),
            _no_growth("hooks in the detector", [hooks_before, hooks_after]),
            _latency(received),
            _accounts(plant),
            _evidence(plant),
        ]


def _watched(plant: Plant, seconds: float) -> list[Sample]:
    samples: list[Sample] = []
    begun_s = time.monotonic()
    while (at_s := time.monotonic() - begun_s) < seconds:
        held = {name: resources_of(pid) for name, pid in plant.processes.ids.items()}
        samples.append(Sample(at_s, held))
        plant.listen_for(min(_SAMPLE_S, seconds - at_s))
    return samples


def _hooks(plant: Plant, answer: Path) -> int:
    answer.unlink(missing_ok=True)
    os.kill(plant.processes.ids["detector-d0"], signal.SIGUSR1)
    plant.listen(answer.exists, 30, "count of hooks")
    return int(answer.read_text(encoding="utf-8"))


def _growth(samples: Sequence[Sample]) -> list[Finding]:
    findings: list[Finding] = []
    for name in samples[0].processes:
        of_process = [sample.processes[name] for sample in samples]
        rate = slope_a_minute([sample.at_s for sample in samples], [held.rss_mb for held in of_process])
        findings.append(
            Finding(
                f"{name}: memory",
                f"{of_process[0].rss_mb:.1f} -> {of_process[-1].rss_mb:.1f} MiB, {rate:+.2f} MiB/min",
                f"< {_MOST_MB_A_MINUTE:g} MiB/min",
                rate < _MOST_MB_A_MINUTE,
            )
        )
        findings += [
            _no_growth(f"{name}: {what}", [count(held) for held in of_process])
            for what, count in _COUNTS.items()
        ]
    return findings


_COUNTS: dict[str, Callable[[Resources], int]] = {
    "threads": lambda held: held.threads,
    "files": lambda held: held.files,
}


def slope_a_minute(at_s: Sequence[float], values: Sequence[float]) -> float:
    """Least-squares slope; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.asarray(at_s) / _S_PER_MIN, values, 1)[0])


def _no_growth(what: str, counts: Sequence[int]) -> Finding:
    """The median of the last tenth against that of the first: a file that is being written comes and goes."""
    first, last = tenths(counts)
    return Finding(what, f"{first:g} -> {last:g}", "no growth", last <= first)


def tenths(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the first and of the last tenth."""
    size = max(len(values) // 10, 1)
    return float(np.median(values[:size])), float(np.median(values[-size:]))


def _latency(received: Sequence[Received]) -> Finding:
    target = f"within {_MOST_LATENCY_GROWTH:.0%}"
    if not received:
        return Finding("latency", "no verdicts", target, met=False)
    first, last = tenths([milliseconds(each.verdict.captured_mono_ns, each.mono_ns) for each in received])
    figure = f"{first:.1f} -> {last:.1f} ms (medians of the first and last tenth)"
    return Finding("latency", figure, target, last <= first * (1 + _MOST_LATENCY_GROWTH))


def _accounts(plant: Plant) -> Finding:
    """Stop the cameras and wait until every part has its verdict in the record."""
    for line in plant.lines:
        plant.processes.stop(f"camera-{line}")

    def captured() -> int:
        return plant.listener.counted("camera", "captured")

    def judged() -> int:
        keys = {each.verdict.key for each in plant.listener.verdicts}
        return len(keys)

    deadline = time.monotonic() + _DRAIN_S
    while time.monotonic() < deadline and not captured() == judged() == _recorded(plant):
        plant.listen_for(1.0)
    figure = f"{captured()} captured, {judged()} judged, {_recorded(plant)} recorded"
    return Finding("parts", figure, "all equal", captured() == judged() == _recorded(plant))


def _recorded(plant: Plant) -> int:
    with closing(read_only(plant.settings.database)) as connection:
        return int(connection.execute("SELECT count(*) FROM verdicts").fetchone()[0])


def _evidence(plant: Plant) -> Finding:
    directory = plant.settings.paths.state / plant.settings.results.evidence
    sizes = [path.stat().st_size for path in directory.glob("*/*/*") if not path.name.startswith(".")]
    kept_mb = sum(sizes) / _BYTES_PER_MB
    figure = f"{kept_mb:.2f} MB in {len(sizes)} files"
    return Finding("evidence kept", figure, f"<= {_EVIDENCE_MB} MB", kept_mb <= _EVIDENCE_MB)


def _table(title: str, findings: Sequence[Finding]) -> Table:
    table = Table("what", "figure", "target", "", title=title)
    for finding in findings:
        table.add_row(finding.what, finding.figure, finding.target, "met" if finding.met else "MISSED")
    return table


if __name__ == "__main__":
    run(app)
