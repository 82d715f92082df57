"""How far scores move, and how many verdicts change, when one setting of the model does.

python -m benchmarks.agreement --data DIR --change precision=bf16 [--limit N] [--config FILE]

Each side holds a threshold of its own: a calibration is bound to the setting that it was made under. Where
the config leaves the precision to the machine, both sides start from float32: else bf16 would meet itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from alfa.backbone import Backbone
from alfa.calibration import conformal_rank
from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches
from alfa.cli.options import PROMPTS_DIRECTORY, ConfigOption
from alfa.errors import BadInput
from alfa.evaluation.datasets import Dataset, find_datasets
from alfa.evaluation.prompt_choice import choose_prompts
from alfa.inspector import score
from alfa.recipe import Recipe
from alfa.settings import ModelSettings, load_model_settings

_ALPHA = 0.1

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two lists of scores of the same images.

    Attributes:
        images: how many.
        mean: of the absolute differences.
        largest: of them.
        changed: verdicts that differ, each side by the conformal threshold of its own good images.
    """

    images: int
    mean: float
    largest: float
    changed: int

    @classmethod
    def of(
        cls, before: NDArray[np.float64], after: NDArray[np.float64], good: NDArray[np.bool_]
    ) -> Agreement:
        """Compare scores, (n,); `good` says which parts are good."""
        moved = np.abs(after - before)
        verdicts = [scores > _threshold(scores[good]) for scores in (before, after)]
        changed = int((verdicts[0] != verdicts[1]).sum())
        return cls(len(before), float(moved.mean()), float(moved.max()), changed)


def _threshold(good: NDArray[np.float64]) -> float:
    # As many good images as there are may not hold a smaller rate.
    alpha = max(_ALPHA, 1 / (len(good) + 1))
    return float(np.sort(good)[conformal_rank(len(good), alpha) - 1])


@dataclass(frozen=True, slots=True)
class Side:
    """A model under one setting."""

    backbone: Backbone
    settings: ModelSettings

    def scores(self, dataset: Dataset, prompts: Path) -> NDArray[np.float64]:
        """S of every test image, zero-shot."""
        recipe = Recipe.load(self.backbone, prompts, settings=self.settings)
        scores = np.full(len(dataset.test), math.nan)
        begin = 0
        for paths, images in image_batches([image.path for image in dataset.test], dataset.name):
            for positions, features in self.backbone.encode(images):
                found = score(features, recipe, self.settings).image.cpu().numpy()
                scores[[begin + position for position in positions]] = found
            begin += len(paths)
        return scores


@app.command()
def agreement(
    data: Annotated[Path, typer.Option("--data", help="A set, or a folder of sets.", show_default=False)],
    change: Annotated[
        str, typer.Option("--change", help="KEY=VALUE of the [model] table.", show_default=False)
    ],
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="About as many test images a set, out of all kinds.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Scores and verdicts before and after a change of one setting."""
    settings = start(load_model_settings(config))
    sides = [_side(settings), _side(changed(settings, change))]
    datasets = [dataset.limited(limit) for dataset in find_datasets(data)]
    prompts = choose_prompts([dataset.name for dataset in datasets], [], PROMPTS_DIRECTORY)
    found = {}
    for dataset in datasets:
        before, after = (side.scores(dataset, prompts[dataset.name]) for side in sides)
        good = np.array([not image.abnormal for image in dataset.test])
        found[dataset.name] = Agreement.of(before, after, good)
    Console(width=120).print(_table(change, found))


def start(settings: ModelSettings) -> ModelSettings:
    """What is changed: the settings, in float32 where they leave the precision to the machine."""
    return settings.model_copy(update={"precision": "fp32"}) if settings.precision == "auto" else settings


def changed(settings: ModelSettings, change: str) -> ModelSettings:
    """The settings with one entry replaced.

    Raises:
        BadInput: it is no KEY=VALUE, or no such setting.
    """
    key, equals, value = change.partition("=")
    if not equals:
        raise BadInput("--change", "", change, "write KEY=VALUE, such as precision=bf16")
    try:
        return ModelSettings.model_validate(settings.model_dump() | {key: value})
    except ValidationError as error:
        raise BadInput("--change", key, value, error.errors(include_url=False)[0]["msg"]) from error


def _side(settings: ModelSettings) -> Side:
    return Side(Backbone.load(settings), settings)


def _table(change: str, found: dict[str, Agreement]) -> Table:
    table = Table(title=f"zero-shot scores, {change}")
    for name in ("set", "images", "mean |change|", "largest |change|", "verdicts changed"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for name, of_set in [*found.items(), ("all", together(list(found.values())))]:
        share = f"{of_set.changed} ({100 * of_set.changed / of_set.images:.2f} %)"
        table.add_row(name, str(of_set.images), f"{of_set.mean:.5f}", f"{of_set.largest:.5f}", share)
    return table


def together(sets: Sequence[Agreement]) -> Agreement:
    """All images as one set."""
    images = sum(of_set.images for of_set in sets)
    mean = sum(of_set.mean * of_set.images for of_set in sets) / images
    return Agreement(images, mean, max(of_set.largest for of_set in sets), sum(o.changed for o in sets))


if __name__ == "__main__":
    run(app)
