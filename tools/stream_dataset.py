"""Teach, calibrate and stream an image set in MVTec layout through the whole line: the README's real images.

    python -m tools.stream_dataset --data DIR --prompts bottle --taught 4 --calibrated 60 --output OUT

DIR holds train/good and test/*; every test image becomes one part of a folder source. The commands and
processes are those that a person would start. Where mbpoll is installed, it reads the PLC's registers too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from sklearn.metrics import roc_auc_score

from alfa.cli.entry import run
from alfa.errors import BadInput, Fault
from alfa.images import list_images
from alfa.prompting.promptset import find_prompt_file
from edge.demo.learning import Product, learn, write_config
from edge.demo.line_run import Run, run_line
from edge.demo.pictures import write_overlays
from edge.demo.summary import summarise, verdict_row
from edge.messages import Verdict
from edge.plc.registers import IMAGE_LENGTH
from edge.settings import Settings, load_settings

LINE = "parts"
MAX_AGE_MS = 600_000  # a machine without a GPU falls behind; late verdicts are wanted here, not FAULTs
GOOD = "good"
_RUNTIME_PREFIX = "alfa-set-"
_FIRST_SHOWN = 2  # behind protocol version and heartbeat, which moves on

app = typer.Typer(add_completion=False)


@app.command()
def stream(
    data: Annotated[Path, typer.Option(help="Set in MVTec layout.", envvar="ALFA_DATA")],
    prompts: Annotated[str, typer.Option(help="Prompt file or class.")],
    taught: Annotated[int, typer.Option(min=1, help="Good images that teach the bank.")],
    output: Annotated[Path, typer.Option(help="New directory for bank, record, logs and pictures.")],
    calibrated: Annotated[int, typer.Option(min=1, help="Other good images that set the threshold.")] = 60,
    alpha: Annotated[float, typer.Option(help="False-reject rate to hold.")] = 0.05,
    rate: Annotated[float, typer.Option(help="Parts a second.")] = 0.5,
) -> None:
    """Exit 0 if every image of test/ got exactly one verdict, recorded and shown on the PLC."""
    console = Console()
    if output.exists():
        raise BadInput("--output", "", str(output), "exists; name a new directory")
    output = output.resolve()
    images = _link_test_images(data, output / "images")
    with tempfile.TemporaryDirectory(prefix=_RUNTIME_PREFIX) as runtime:
        product = Product(data / "train" / GOOD, find_prompt_file(prompts), taught, calibrated, alpha)
        console.print(f"teaching {taught}, calibrating on {calibrated} other good images ...")
        learn(product, output)
        source: dict[str, str | int | float] = {
            "kind": "folder",
            "path": str(output / "images"),
            "rate_hz": rate,
        }
        config = write_config(product, LINE, source, output, Path(runtime), MAX_AGE_MS)
        settings = load_settings(config)

        def describe(verdict: Verdict) -> str:
            return verdict_row(verdict, images[verdict.seq].parent.name)

        def read_with_mbpoll() -> None:
            console.print(mbpoll_registers(settings), highlight=False)

        finished = run_line(config, settings, LINE, len(images), output, console, describe, read_with_mbpoll)
    defective = {seq: images[seq].parent.name != GOOD for seq in finished.heard.verdicts}
    summary = summarise(finished, len(images), defective, settings.database, alpha)
    console.print(
        summary.table(f"{data.name}: {taught} taught, {calibrated} calibrated, {len(images)} streamed")
    )
    console.print(f"image AUROC of the streamed scores: {_auroc(finished, defective):.1f}")
    write_overlays(finished.heard, output)
    if summary.problems:
        raise Fault("stream_failed", "; ".join(summary.problems))


def main() -> None:
    """Entry point."""
    run(app)


def mbpoll_registers(settings: Settings) -> str:
    """Registers 2 to 14 of the line as mbpoll, an independent Modbus client, reads them; one line of text."""
    plc, program = settings.plc, shutil.which("mbpoll")
    if plc is None or program is None:
        return "mbpoll is not installed: registers read by our own client only"
    count = IMAGE_LENGTH - _FIRST_SHOWN
    command = (program, "-0", "-1", "-q", "-r", str(plc.base + _FIRST_SHOWN), "-c", str(count))
    answer = subprocess.run(
        (*command, "-p", str(plc.port), plc.host), capture_output=True, text=True, check=True
    ).stdout
    values = re.findall(r"\]:\s+(\d+)", answer)
    return f"mbpoll: registers {_FIRST_SHOWN} to {IMAGE_LENGTH - 1}: {' '.join(values)}"


def _link_test_images(data: Path, directory: Path) -> list[Path]:
    """Links in one folder, named so that a folder source takes them in this order; gives the originals."""
    images = list(_interleaved(data / "test"))
    directory.mkdir(parents=True)
    for number, image in enumerate(images):
        link = directory / f"{number:05d}-{image.parent.name}-{image.stem}{image.suffix}"
        link.symlink_to(image.resolve())
    return images


def _interleaved(test: Path) -> Iterator[Path]:
    """The kinds of part mixed, as a line would bring them: first of each kind, then second of each."""
    if not test.is_dir():
        raise BadInput(test, "", None, "no such directory; --data takes a set with train/good and test/*")
    kinds = [list_images(kind) for kind in sorted(test.iterdir()) if kind.is_dir()]
    for place in range(max(map(len, kinds))):
        yield from (images[place] for images in kinds if place < len(images))


def _auroc(finished: Run, defective: dict[int, bool]) -> float:
    judged = {seq: v.score for seq, v in finished.heard.verdicts.items() if v.score is not None}
    return 100 * float(roc_auc_score([defective[seq] for seq in judged], list(judged.values())))


if __name__ == "__main__":
    main()
