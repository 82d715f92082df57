"""`python -m tools.compare_windows`: which windows a faster mode may leave out, on sets with known answers.

The figures of docs/performance.md, "Where PRO is lost". Images are encoded once with all their windows; every
choice is scored by those of them that it keeps, whose embeddings do not depend on the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from alfa.backbone import Backbone
from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches, tracked
from alfa.cli.options import PROMPTS_DIRECTORY
from alfa.evaluation.datasets import find_datasets
from alfa.evaluation.prompt_choice import choose_prompts
from alfa.evaluation.protocol import WHOLE, ClassResult, judge_dataset, measure
from alfa.evaluation.store import FILE_NAME, ResultStore
from alfa.evaluation.variants import Variant
from alfa.features import ImageFeatures
from alfa.files import content_hash
from alfa.inspector import score
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from alfa.windows import Grid

app = typer.Typer(add_completion=False)

# Whether a window is kept, by its place among those of its scale: (top, left, last top, last left) -> bool.
Keep = Callable[[int, int, int, int], bool]


def every(top: int, left: int, last_top: int, last_left: int) -> bool:
    """All of them, as in exact mode."""
    return True


def side_by_side(scale: int) -> Keep:
    """Those of the fast mode: every `scale`-th, and the last."""

    def keep(top: int, left: int, last_top: int, last_left: int) -> bool:
        return _on_line(top, last_top, scale, 0) and _on_line(left, last_left, scale, 0)

    return keep


def bricks(scale: int) -> Keep:
    """The same, but every second row begins anew after `scale` - 1 patches, so that joints do not meet."""

    def keep(top: int, left: int, last_top: int, last_left: int) -> bool:
        row = -(-top // scale)
        return _on_line(top, last_top, scale, 0) and _on_line(left, last_left, scale, (scale - 1) * (row % 2))

    return keep


def chessboard(top: int, left: int, last_top: int, last_left: int) -> bool:
    """Every second one, and the corners, whose patches no other window has."""
    return (top + left) % 2 == 0 or (top in (0, last_top) and left in (0, last_left))


def _on_line(place: int, last: int, step: int, shift: int) -> bool:
    return place in (0, last) or (place >= shift and (place - shift) % step == 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which windows are kept.

    Attributes:
        name: as the table has it.
        keep: by scale; windows of other scales are left out.
    """

    name: str
    keep: Mapping[int, Keep]


CHOICES = (
    Choice("exact", {2: every, 3: every}),
    Choice("side by side (fast)", {2: side_by_side(2), 3: side_by_side(3)}),
    Choice("bricks", {2: bricks(2), 3: bricks(3)}),
    Choice("chessboard of scale 2", {2: chessboard}),
    Choice("chessboard of scale 2, scale 3 side by side", {2: chessboard, 3: side_by_side(3)}),
    Choice("all of scale 2, scale 3 side by side", {2: every, 3: side_by_side(3)}),
    Choice("all of scale 2", {2: every}),
)


def kept_places(grid: Grid, scale: int, keep: Keep) -> list[int]:
    """Positions of the kept windows in the row-major list of all."""
    last_top, last_left = grid.rows - scale, grid.cols - scale
    places = [(top, left) for top in range(last_top + 1) for left in range(last_left + 1)]
    return [index for index, place in enumerate(places) if keep(*place, last_top, last_left)]


def thinned(features: ImageFeatures, choice: Choice) -> ImageFeatures:
    """The features of exact mode without the windows that the choice leaves out."""
    windows, layouts = [], []
    for layout, level in zip(features.layouts, features.windows, strict=True):
        if layout.scale in choice.keep:
            kept = kept_places(layout.grid, layout.scale, choice.keep[layout.scale])
            windows.append(level[:, kept])
            layouts.append(replace(layout, indices=layout.indices[kept], coverage=layout.coverage[:, kept]))
    return replace(features, windows=tuple(windows), layouts=tuple(layouts))


def tokens(grid: Grid, choice: Choice) -> int:
    """How many go through the tower for an image with a class token, and for its windows."""
    of_windows = (len(kept_places(grid, scale, keep)) * (1 + scale**2) for scale, keep in choice.keep.items())
    return 1 + grid.patches + sum(of_windows)


@app.command()
def compare(
    data: Annotated[Path, typer.Option("--data", help="Folder of sets.")],
    limit: Annotated[int, typer.Option("--limit", min=2, help="About as many test images a set.")] = 40,
    precision: Annotated[str, typer.Option("--precision", help="Of the image tower.")] = "fp32",
    threads: Annotated[int, typer.Option("--threads", min=0, help="For torch; 0: its own choice.")] = 0,
) -> None:
    """Print tokens, PRO of the sets with masks and image AUROC of all sets, zero-shot."""
    settings = ModelSettings.model_validate({"local": "windows", "precision": precision, "threads": threads})
    backbone = Backbone.load(settings)
    datasets = [dataset.limited(limit) for dataset in find_datasets(data)]
    files = choose_prompts([dataset.name for dataset in datasets], [], PROMPTS_DIRECTORY)
    results = []
    for dataset in datasets:
        recipe = Recipe.load(backbone, files[dataset.name], settings=settings)
        variants = [_variant(choice, recipe, settings) for choice in CHOICES]
        with (
            tempfile.TemporaryDirectory() as passing,
            closing(ResultStore(Path(passing) / FILE_NAME)) as store,
        ):
            judge_dataset(dataset, backbone, variants, store, image_batches)
            results.append(measure(dataset, variants, store, tracked))
    print(as_markdown(results, backbone.grid), end="")


def _variant(choice: Choice, recipe: Recipe, settings: ModelSettings) -> Variant:
    return Variant(
        name=choice.name,
        score=lambda features: score(thinned(features, choice), recipe, settings),
        identity=content_hash(choice.name.encode()),
        row=choice.name,
    )


def as_markdown(results: Sequence[ClassResult], grid: Grid) -> str:
    """A line a choice: tokens on that grid, PRO set by set and its mean, image AUROC likewise; in percent."""
    names = ", ".join(result.dataset.name for result in results)
    lines = [
        f"Sets: {names}",
        "",
        "| windows | tokens | PRO | mean | AUROC | mean |",
        "|---|---:|---|---:|---|---:|",
    ]
    for choice in CHOICES:
        columns = (_column(results, choice, metric) for metric in ("pixel_pro", "image_auroc"))
        lines.append(f"| {choice.name} | {tokens(grid, choice)} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def _column(results: Sequence[ClassResult], choice: Choice, metric: str) -> str:
    rows = (row for result in results for row in result.rows if (row.name, row.part) == (choice.name, WHOLE))
    found = [100 * value for value in (row.mean(metric) for row in rows) if value is not None]
    return f"{', '.join(f'{value:.1f}' for value in found)} | {np.mean(found):.1f}" if found else "- | -"


if __name__ == "__main__":
    run(app)
