"""`edge-demo`: teach, calibrate, start camera, detector, results and a PLC, watch, and check the sums."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from alfa.cli.entry import run
from alfa.errors import BadInput, Fault
from edge.camera.sources.synthetic import truth
from edge.demo.line_run import run_line
from edge.demo.pictures import write_overlays
from edge.demo.stage import ALPHA, CALIBRATED, LINE, TAUGHT, build_stage
from edge.demo.summary import summarise, verdict_row
from edge.messages import Verdict

# A socket's path holds 107 bytes, so sockets live in a short directory of their own.
_RUNTIME_PREFIX = "alfa-demo-"
_MARKER = ".edge-demo"

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Directory for pictures, logs and record; replaced.")] = Path(
        "demo-output"
    ),
    parts: Annotated[int, typer.Option(min=4, max=100_000, help="Parts to capture.")] = 24,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help="Parts a second.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Same seed, same parts.")] = 7,
) -> None:
    """A synthetic line from lens to PLC as real processes; exit 0 only if every part was accounted for."""
    console = Console()
    output = output.resolve()
    _replace_directory(output)
    with tempfile.TemporaryDirectory(prefix=_RUNTIME_PREFIX) as runtime:
        console.print(f"teaching {TAUGHT} good parts, calibrating on {CALIBRATED} others ...")
        stage = build_stage(output, Path(runtime), parts, rate, seed)

        def describe(verdict: Verdict) -> str:
            return verdict_row(verdict, truth(stage.source, verdict.seq).kind)

        finished = run_line(stage.config, stage.settings, LINE, parts, output, console, describe)
    defective = {seq: truth(stage.source, seq).defective for seq in finished.heard.verdicts}
    summary = summarise(finished, parts, defective, stage.settings.database, ALPHA)
    console.print(summary.table(f"line {LINE}: {parts} parts at {rate:g} a second"))
    pictures = write_overlays(finished.heard, output)
    console.print(f"{pictures} pictures and the logs are in {output}")
    if summary.problems:
        raise Fault("demo_failed", "; ".join(summary.problems))
    console.print("[green]all parts accounted for[/green]")


def main() -> None:
    """Console script."""
    run(app)


def _replace_directory(output: Path) -> None:
    """An empty directory; one that the demo did not make is not touched."""
    made_here = (output / _MARKER).exists()
    if output.exists() and not made_here and (not output.is_dir() or any(output.iterdir())):
        raise BadInput("edge-demo", "--output", str(output), "exists and is not a demo's; name another one")
    if output.exists():
        shutil.rmtree(output)
    output.mkdir(parents=True)
    (output / _MARKER).touch()


if __name__ == "__main__":
    main()
