"""`alfa-bank`: teach a memory bank from good parts, show what is in one, drop one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from alfa.backbone import Backbone
from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches, select_images
from alfa.cli.options import ConfigOption, LimitOption, SeedOption, SkipOption
from alfa.cli.outputs import require_writable, writing
from alfa.errors import BadInput
from alfa.files import file_hash
from alfa.memory import MemoryBank
from alfa.settings import load_model_settings
from alfa.teaching import DEFAULT_CAP, Teaching
from alfa.turning import TURNS, turned_copies

app = typer.Typer(help="Memory banks of good parts.", no_args_is_help=True, add_completion=False)

BankFile = Annotated[Path, typer.Argument(help="Memory bank file.", show_default=False)]


def _require_turns(turns: int) -> int:
    if turns not in TURNS:
        raise BadInput("--turns", "", turns, f"choose one of {', '.join(map(str, TURNS))}")
    return turns


@app.command()
def teach(
    images: Annotated[Path, typer.Argument(help="Directory of good images.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Bank file to write.", show_default=False)],
    limit: LimitOption = None,
    skip: SkipOption = 0,
    seed: SeedOption = None,
    cap: Annotated[int, typer.Option("--cap", min=1, help="Most rows a level keeps.")] = DEFAULT_CAP,
    turns: Annotated[
        int,
        typer.Option(
            "--turns",
            callback=_require_turns,
            metavar="1|4|8",
            help="Orientations each image is taught in; 4 or 8 for parts that come turned in any way.",
        ),
    ] = 1,
    config: ConfigOption = None,
) -> None:
    """Make a bank from good images; 4 to 16 are enough."""
    settings = load_model_settings(config)
    require_writable("--out", out)
    paths = select_images(images, skip, limit, seed)
    backbone = Backbone.load(settings)
    teaching = Teaching(backbone.patch_blocks, backbone.grid, len(paths), cap)
    for _, pictures in image_batches(paths, "teaching"):
        for _, encoded in backbone.encode(pictures):
            teaching.add(encoded)
        copies = [copy for picture in pictures for copy in turned_copies(picture, turns)]
        for _, encoded in backbone.encode(copies):
            teaching.add_turned(encoded)
    sources = [file_hash(path) for path in paths]
    bank = MemoryBank.of(teaching.outcome(), backbone, sources, cap, turns)
    with writing(out):
        bank.save(out)
    print(f"{out}: taught {bank.images} images, bank {bank.content_hash}")


@app.command()
def show(file: BankFile) -> None:
    """Show what a bank was taught from."""
    bank = MemoryBank.load(file)
    info = bank.info
    table = Table(title=str(file), show_header=False)
    table.add_row("bank", bank.content_hash)
    table.add_row("model", f"{info.model_id} (weights {info.weights_hash})")
    table.add_row("grid", f"{info.rows}x{info.cols}")
    table.add_row(
        "images", f"{bank.images}, each in {info.turns} orientations" if info.turns > 1 else str(bank.images)
    )
    table.add_row("typical distance", f"{info.typical:.4f}")
    table.add_row("foreground", "parts in front of a background" if bank.foreground else "whole image")
    table.add_row("created", info.created.isoformat())
    for level, rows in sorted(bank.levels.items()):
        table.add_row(level, f"{rows.shape[0]} rows of {rows.shape[1]}")
    Console().print(table)


@app.command()
def drop(file: BankFile) -> None:
    """Delete a bank; refuses files that are not one."""
    bank = MemoryBank.load(file)
    with writing(file):
        file.unlink()
    print(f"{file}: dropped bank {bank.content_hash}")


def main() -> None:
    """Console script."""
    run(app)


if __name__ == "__main__":
    main()
