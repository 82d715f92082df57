"""`python -m benchmarks.chaos --minutes 60 --seed 1 --output DIR`: exit 1 where a part or an OK is wrong.

The real services run under a supervisor that restarts them as systemd does, and are killed, stopped, cut off,
lied to and left without disk. In the end every captured part must have its one verdict in the record, and the
PLC must never have seen an OK of a part that the record does not call OK.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from alfa.cli.entry import run
from alfa.errors import BadInput
from benchmarks.chaos.audit import Audit
from benchmarks.chaos.campaign import Outcome, run_campaign
from benchmarks.line_plant import ModelName

_SAFE_WITHIN_S = 1.0
_S_PER_MIN = 60.0
_SHOWN = 5

app = typer.Typer(add_completion=False)


@app.command()
def chaos(
    minutes: Annotated[float, typer.Option(min=0.01, help="How long faults come.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Same seed, same order of faults.")] = 0,
    model: Annotated[ModelName, typer.Option(help="tiny costs next to nothing.")] = "tiny",
    faults: Annotated[int, typer.Option(min=0, help="Stop after so many; 0 for no bound.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Keep logs, record and history there.")] = None,
) -> None:
    """Bring faults upon a line and account for every part."""
    directory = _directory(output)
    outcome = run_campaign(directory, model, minutes * _S_PER_MIN, seed, faults)
    console = Console()
    console.print(_table(outcome))
    for line in _wrong(outcome):
        console.print(line, markup=False)
    console.print(f"logs, record and history: {directory}", markup=False)
    if not outcome.audit.holds or outcome.uncaused:
        raise typer.Exit(1)


def _directory(output: Path | None) -> Path:
    if output is None:
        return Path(tempfile.mkdtemp(prefix="chaos-"))
    if output.exists() and any(output.iterdir()):
        raise BadInput("chaos", "--output", str(output), "is not empty; name a new directory")
    output.mkdir(parents=True, exist_ok=True)
    return output.resolve()


def _table(outcome: Outcome) -> Table:
    audit = outcome.audit
    table = Table("what", "figure", "must be")
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.faults.items()))
    table.add_row("faults", f"{sum(outcome.faults.values())}: {faults}", "")
    for kind, why in outcome.skipped.items():
        table.add_row(f"skipped: {kind}", why, "")
    results = ", ".join(f"{result} {count}" for result, count in outcome.results.items())
    table.add_row("parts captured", str(audit.captured), "")
    table.add_row("parts in the record", f"{sum(outcome.results.values())}: {results}", "")
    table.add_row("(a) parts without verdict", str(len(audit.missing)), "0")
    table.add_row("(b) parts with two", str(len(audit.duplicates)), "0")
    table.add_row("    verdicts of no part", str(len(audit.strange)), "0")
    table.add_row("(c) OK shown of a part not OK", f"{len(audit.wrong_ok)} of {audit.ok_shown}", "0")
    for what in sorted({each.loss.what for each in audit.delays}):
        table.add_row(f"(d) safe within {_SAFE_WITHIN_S:g} s: {what} lost", _safe_cell(audit, what), "all")
    table.add_row("(e) detector's restart to READY", _ready_cell(outcome.ready_s), "")
    table.add_row("services that ended by themselves", str(len(outcome.uncaused)), "0")
    return table


def _safe_cell(audit: Audit, what: str) -> str:
    delays = [each for each in audit.delays if each.loss.what == what]
    late = [each for each in audit.late(_SAFE_WITHIN_S) if each.loss.what == what]
    known = [each.seconds for each in delays if each.seconds is not None]
    worst = f"{max(known):.2f} s" if len(known) == len(delays) else "never"
    return f"{len(delays) - len(late)} of {len(delays)}, the worst after {worst}"


def _ready_cell(seconds: list[float]) -> str:
    if not seconds:
        return "no restart"
    return f"median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s, {len(seconds)} restarts"


def _wrong(outcome: Outcome) -> list[str]:
    """The first few of everything that is not as it must be."""
    audit = outcome.audit
    found = [
        *(f"no verdict: {key}" for key in audit.missing[:_SHOWN]),
        *(f"two verdicts: {key}" for key in audit.duplicates[:_SHOWN]),
        *(f"verdict of no part: {key}" for key in audit.strange[:_SHOWN]),
        *(f"wrong OK: {shown}" for shown in audit.wrong_ok[:_SHOWN]),
        *(f"{end.unit} ended with {end.code}:\n{end.log}" for end in outcome.uncaused[:_SHOWN]),
    ]
    late = [
        f"late: {each.line} at {each.loss.mono_ns} ns, {each.loss.what} lost: {each.seconds} s"
        for each in audit.late(_SAFE_WITHIN_S)
    ]
    return found + late[:_SHOWN]


if __name__ == "__main__":
    run(app)
