"""One run of the whole line: start its processes, watch until all parts are judged, read the PLC, stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from alfa.errors import Fault
from edge.demo.audience import Audience, Heard
from edge.demo.plc_reading import PlcReading, read_plc
from edge.demo.processes import line_processes
from edge.messages import ServiceState, Verdict
from edge.processes import Processes
from edge.settings import Settings
from edge.sockets import Sockets

READY_TIMEOUT_S = 120.0
PART_TIMEOUT_S = 15.0
PLC_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of one line.

    Attributes:
        heard: what its subscriber heard.
        last: the verdict of the last part.
        reading: the PLC's registers when they showed it.
        problems: processes that did not end with exit code 0.
    """

    heard: Heard
    last: Verdict
    reading: PlcReading
    problems: tuple[str, ...]


def run_line(
    config: Path,
    settings: Settings,
    line: str,
    parts: int,
    logs: Path,
    console: Console,
    describe: Callable[[Verdict], str],
    before_stop: Callable[[], None] = lambda: None,
) -> Run:
    """Run `line` of `config` until `parts` parts are judged; verdicts appear on the console as they come.

    Args:
        config: the file, for the processes.
        settings: as read from it; with a `[plc]` table.
        line: the one line to run.
        parts: how many its source gives.
        logs: directory for one log a process.
        console: where verdicts and progress go.
        describe: one row of text for a verdict.
        before_stop: called when the PLC shows the last verdict and all processes still run.

    Raises:
        Fault: a process ended, the detector did not come up, or no verdict came.
    """
    plc = settings.plc
    if plc is None:
        raise Fault("demo_failed", f"{config} has no [plc] table")
    with Sockets() as sockets, Processes(logs) as processes:
        audience = Audience(sockets, settings, line)
        for spec in line_processes(config, line, plc.port):
            console.print(f"starting {spec.name}")
            processes.start(spec)
        _wait_until_ready(audience, processes)
        _watch(audience, processes, parts, settings.lines[line].source.rate_hz, console, describe)
        heard = audience.heard
        last = heard.verdicts[max(heard.verdicts)]
        reading = read_plc(plc, last, PLC_TIMEOUT_S)
        before_stop()
        codes = processes.stop_all()
    return Run(
        heard, last, reading, tuple(f"{name} ended with {code}" for name, code in codes.items() if code)
    )


def _wait_until_ready(audience: Audience, processes: Processes) -> None:
    ready = audience.listen(
        lambda heard: heard.detector is ServiceState.READY, READY_TIMEOUT_S, processes.check, lambda _: None
    )
    if not ready:
        raise Fault("demo_not_ready", f"the detector was not READY within {READY_TIMEOUT_S:.0f} s")


def _watch(
    audience: Audience,
    processes: Processes,
    parts: int,
    rate_hz: float,
    console: Console,
    describe: Callable[[Verdict], str],
) -> None:
    """Until all are judged, or patience ends; what is then missing is the summary's to tell."""
    audience.listen(
        lambda heard: len(heard.verdicts) >= parts and heard.captured >= parts,
        parts / rate_hz + PART_TIMEOUT_S * parts,
        processes.check,
        lambda verdict: console.print(describe(verdict), highlight=False, soft_wrap=True),
    )
    if not audience.heard.verdicts:
        raise Fault("demo_no_verdict", "not one verdict arrived")
