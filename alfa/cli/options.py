"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="config.toml; only its `model` table is read.", show_default="alfa-mini"),
]
PromptsOption = Annotated[
    str, typer.Option("--prompts", help="Prompt file, or a class name such as `bottle`.", show_default=False)
]
BankOption = Annotated[Path | None, typer.Option("--bank", help="Memory bank made by alfa-bank teach.")]
SkipOption = Annotated[
    int, typer.Option("--skip", min=0, help="Leave out the first N images (those taught).")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="Take at most N images.", show_default="all")
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Shuffle the images with this seed before skip and limit; give the same to teach and calibrate.",
        show_default="sorted by name",
    ),
]

PROMPTS_DIRECTORY = Path("prompts")
