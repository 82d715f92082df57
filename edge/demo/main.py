"""`edge-demo`: teach, calibrate, start camera, detector, results and a PLC, watch, and check the sums."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from alfa.cli.entry import run
from alfa.errors import BadInput, Fault
from edge.camera.sources.synthetic import truth
from edge.demo.audience import Audience, Heard
from edge.demo.pictures import write_overlays
from edge.demo.plc_reading import PlcReading, plc_problems, read_plc
from edge.demo.processes import Processes, line_processes
from edge.demo.stage import ALPHA, CALIBRATED, LINE, TAUGHT, Stage, build_stage
from edge.demo.summary import Confusion, confusion, latency_percentile, line_problems
from edge.messages import Result, ServiceState, Verdict
from edge.sockets import Sockets

READY_TIMEOUT_S = 120.0
PART_TIMEOUT_S = 15.0
PLC_TIMEOUT_S = 5.0
# A socket's path holds 107 bytes, so sockets live in a short directory of their own.
_RUNTIME_PREFIX = "alfa-demo-"

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Directory for pictures, logs and record; replaced.")] = Path(
        "demo-output"
    ),
    parts: Annotated[int, typer.Option(min=4, max=100_000, help="Parts to capture.")] = 24,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Parts a second.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Same seed, same parts.")] = 7,
) -> None:
    """A synthetic line from lens to PLC as real processes; exit 0 only if every part was accounted for."""
    console = Console()
    output = output.resolve()
    _replace_directory(output)
    with tempfile.TemporaryDirectory(prefix=_RUNTIME_PREFIX) as runtime:
        console.print(f"teaching {TAUGHT} good parts, calibrating on {CALIBRATED} others ...")
        stage = build_stage(output, Path(runtime), parts, rate, seed)
        heard, reading, problems = _run_line(stage, console)
    problems += _conclude(stage, heard, reading, console)
    if problems:
        raise Fault("demo_failed", "; ".join(problems))
    console.print("[green]all parts accounted for[/green]")


def main() -> None:
    """Console script."""
    run(app)


def _replace_directory(output: Path) -> None:
    """An empty directory; one that we did not make is not deleted."""
    marker = output / ".edge-demo"
    if output.exists() and not marker.exists() and any(output.iterdir()):
        raise BadInput("edge-demo", "--output", str(output), "exists and is not a demo's; name another one")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    marker.touch()


def _run_line(stage: Stage, console: Console) -> tuple[Heard, PlcReading, list[str]]:
    """Start the line, watch until every part has its verdict, read the PLC, stop the line."""
    assert stage.settings.plc is not None
    specs = line_processes(stage.config, LINE, stage.settings.plc.port)
    with Sockets() as sockets, Processes(stage.directory) as processes:
        audience = Audience(sockets, stage.settings, LINE)
        for spec in specs:
            console.print(f"starting {spec.name}")
            processes.start(spec)
        _watch(audience, stage, processes, console)
        last = audience.heard.verdicts[max(audience.heard.verdicts)]
        reading = read_plc(stage.settings.plc, last, PLC_TIMEOUT_S)
        codes = processes.stop_all()
    return audience.heard, reading, [f"{name} ended with {code}" for name, code in codes.items() if code]


def _watch(audience: Audience, stage: Stage, processes: Processes, console: Console) -> None:
    parts = stage.source.limit
    ready = audience.listen(
        lambda heard: heard.detector is ServiceState.READY, READY_TIMEOUT_S, processes.check, lambda _: None
    )
    if not ready:
        raise Fault("demo_not_ready", f"the detector was not READY within {READY_TIMEOUT_S:.0f} s")
    audience.listen(
        lambda heard: len(heard.verdicts) >= parts and heard.captured >= parts,
        parts / stage.source.rate_hz + PART_TIMEOUT_S * parts,
        processes.check,
        lambda verdict: console.print(_row(verdict, stage), highlight=False, soft_wrap=True),
    )
    if not audience.heard.verdicts:
        raise Fault("demo_no_verdict", "not one verdict arrived")


def _row(verdict: Verdict, stage: Stage) -> str:
    known = truth(stage.source, verdict.seq).kind
    colour = {"OK": "green", "NG": "red", "FAULT": "yellow"}[verdict.result]
    if verdict.score is None or verdict.threshold is None:
        return f"{verdict.seq:4d}  [{colour}]{verdict.result:5}[/{colour}]  {verdict.fault} {verdict.detail}"
    reasons = ", ".join(reason.text for reason in verdict.reasons[:2])
    return (
        f"{verdict.seq:4d}  [{colour}]{verdict.result:5}[/{colour}]  score {verdict.score:.3f}"
        f"  threshold {verdict.threshold:.3f}  {verdict.timings.total:6.0f} ms  truth {known:13}  {reasons}"
    )


def _conclude(stage: Stage, heard: Heard, reading: PlcReading, console: Console) -> list[str]:
    """Print the summary and give what is wrong."""
    defective = {seq: truth(stage.source, seq).defective for seq in heard.verdicts}
    found = confusion(heard.verdicts, defective)
    pictures = write_overlays(heard, stage.directory)
    recorded = _recorded(stage.database)
    console.print(_summary_table(stage, heard, found, reading, recorded))
    console.print(f"{pictures} pictures and the logs are in {stage.directory}")
    last = heard.verdicts[max(heard.verdicts)]
    ng_expected = any(verdict.result is Result.NG for verdict in heard.verdicts.values())
    return [
        *line_problems(heard, stage.source.limit, recorded, found),
        *plc_problems(reading, last, ng_expected),
    ]


def _recorded(database: Path) -> int:
    """Verdicts in the record, read as anybody would."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        count: int = connection.execute("SELECT count(*) FROM verdicts").fetchone()[0]
    return count


def _summary_table(stage: Stage, heard: Heard, found: Confusion, reading: PlcReading, recorded: int) -> Table:
    table = Table(title=f"line {LINE}: {stage.source.limit} parts at {stage.source.rate_hz:g} a second")
    table.add_column("what")
    table.add_column("figure")
    median, p99 = (latency_percentile(heard.latencies_ms, percent) for percent in (50, 99))
    rows = [
        ("captured / judged / recorded", f"{heard.captured} / {len(heard.verdicts)} / {recorded}"),
        ("good parts: OK / NG", f"{found.good_ok} / {found.good_ng} (held rate of NG: {ALPHA:g})"),
        ("defective parts: NG / OK", f"{found.defective_ng} / {found.defective_ok}"),
        ("not judged (FAULT)", str(found.not_judged)),
        ("capture to verdict: median / p99", f"{median:.0f} / {p99:.0f} ms"),
        *reading.rows(),
    ]
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()
