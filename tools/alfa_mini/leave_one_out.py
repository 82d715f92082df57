"""Zero-shot on each training set with the model that never saw it.

The models come from `python -m tools.alfa_mini --leave-one-out`; all are judged with the generic prompts.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from alfa.backbone import Backbone
from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches, tracked
from alfa.cli.options import ConfigOption
from alfa.evaluation.datasets import read_dataset
from alfa.evaluation.protocol import ClassResult, judge_dataset, mean_over_classes, measure
from alfa.evaluation.store import ResultStore
from alfa.evaluation.tables import print_tables, rows_table
from alfa.evaluation.variants import ShotBanks, shot_variants
from alfa.prompting.promptset import available_classes
from alfa.recipe import Recipe
from alfa.settings import load_model_settings
from tools.alfa_mini.sets import SETS

_PROMPTS = "generic"

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option("--data", help="Folder of the training sets.")],
    models: Annotated[Path, typer.Option("--models", help="Folder of the models, one a set.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for results, to go on with later.")],
    config: ConfigOption = None,
) -> None:
    """Print a table a set, and the mean."""
    settings = load_model_settings(config)
    results: list[ClassResult] = []
    for each in SETS:
        dataset = read_dataset(data / each.name)
        backbone = Backbone.load_directory(models / each.name, settings)
        recipe = Recipe.load(backbone, available_classes()[_PROMPTS], settings=settings)
        banks = ShotBanks(backbone, dataset, (0,), 1)
        variants = shot_variants(recipe, settings, backbone, banks, (0,))
        with closing(ResultStore(out / f"{each.name}.sqlite", restart=False)) as store:
            judge_dataset(dataset, backbone, variants, store, image_batches)
            results.append(measure(dataset, variants, store, tracked))
        print_tables([rows_table(each.name, results[-1].rows)])
    print_tables([rows_table("mean over the sets", mean_over_classes(results))])


def main() -> None:
    """Entry."""
    run(app)


if __name__ == "__main__":
    main()
