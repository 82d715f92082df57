"""`python -m tools.compare_forms`: aligner and contextual forms on real sets, with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from alfa.backbone import Backbone
from alfa.cli.entry import run
from alfa.cli.options import PROMPTS_DIRECTORY
from alfa.evaluation.datasets import Dataset, find_datasets
from alfa.evaluation.prompt_choice import choose_prompts
from alfa.files import write_atomic
from alfa.model_directory import WEIGHTS_DIRECTORY
from alfa.settings import EMBEDDED_MODEL, ModelSettings
from tools.compare_forms.cached_features import FeatureCache, chosen
from tools.compare_forms.figures import SetDraws, draw, mean_figures
from tools.compare_forms.judging import CONTEXTUAL, Form, Judged, aligner_forms, contextual_forms, judge
from tools.compare_forms.tables import Kept, SetResult, as_json, as_markdown

app = typer.Typer(add_completion=False)


class Which(StrEnum):
    """What is compared. Prompts need no windows, which cost fifty times the rest."""

    aligners = "aligners"
    contextual = "contextual"


@app.command()
def compare(
    which: Annotated[Which, typer.Argument(help="Forms of the aligner, or of contextual scoring.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of sets, or of folders of sets.")],
    out: Annotated[Path, typer.Option("--out", help="JSON file with all figures.")],
    cache: Annotated[Path, typer.Option("--cache", help="Folder for the features of images.")],
    images: Annotated[int, typer.Option("--images", min=1, help="Most images a set, of each kind.")] = 60,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.")] = 0,
    model: Annotated[Path | None, typer.Option("--model", help="Directory in alfa-mini's form.")] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            "--prompts", help="SET=NAME: a prompt file for a set; may be repeated.", show_default="by name"
        ),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", help="Folder of models trained without a set, named like the set."),
    ] = None,
    resolution: Annotated[
        int, typer.Option("--resolution", min=0, help="Of a square image; 0: the model's own.")
    ] = 0,
    threads: Annotated[int, typer.Option("--threads", min=0, help="For torch; 0: its own choice.")] = 0,
) -> None:
    """Score every set by all forms on the same features; print tables, write all figures."""
    shipped = model or WEIGHTS_DIRECTORY / EMBEDDED_MODEL
    # Of all aligners, ridge asks for the most; what the others need is then there as well.
    reads = {"local": "both", "aligner": "ridge"} if which is Which.aligners else {"local": "auto"}
    settings = ModelSettings.model_validate(
        {"device": "cpu", "precision": "fp32", "resolution": resolution, "threads": threads} | reads
    )
    shipped_features = FeatureCache.of(Backbone.load_directory(shipped, settings), shipped, cache)
    compared = aligner_forms(settings) if which is Which.aligners else contextual_forms(settings)
    datasets = find_datasets(data)
    files = choose_prompts([each.name for each in datasets], prompts or [], PROMPTS_DIRECTORY)
    results = []
    for dataset in datasets:
        features = _features(dataset, shipped_features, held_out, cache)
        chosen_images = chosen(dataset, images)
        features.fill(chosen_images, dataset.name)
        judged = judge(chosen_images, features, files[dataset.name], compared)
        defective = sum(image.abnormal for image in chosen_images)
        results.append(_result(dataset, judged, len(chosen_images) - defective, draws, seed))
    sets = [result.told for result in results]
    means = _means(results, compared)
    write_atomic(out, (json.dumps(as_json(means, sets), indent=1) + "\n").encode())
    print(as_markdown(means, sets, compared), end="")


@dataclass(frozen=True, slots=True, eq=False)
class _Result:
    """One set: what is told of it, and its draws, which the means need."""

    folder: str
    told: SetResult
    drawn: SetDraws


def _features(dataset: Dataset, shipped: FeatureCache, held_out: Path | None, root: Path) -> FeatureCache:
    """Of the model that was trained without the set, where there is one; else of the shipped one."""
    directory = None if held_out is None else held_out / dataset.name
    if directory is None or not directory.is_dir():
        return shipped
    return FeatureCache.of(Backbone.load_directory(directory, shipped.backbone.settings), directory, root)


def _result(dataset: Dataset, judged: Mapping[Form, Judged], good: int, draws: int, seed: int) -> _Result:
    drawn = draw(judged, good, draws, seed)
    count = len(next(iter(judged.values())).image)
    kept = {form: _kept(each) for form, each in judged.items() if form.group == CONTEXTUAL}
    figures = mean_figures([drawn], list(judged))
    told = SetResult(dataset.name, (good, count - good), figures, kept)
    return _Result(dataset.directory.resolve().parent.name, told, drawn)


def _kept(judged: Judged) -> Kept:
    normal, abnormal = judged.kept.mean(axis=0)
    return Kept(float(normal), float(abnormal), float(judged.emptied.mean()))


def _means(results: Sequence[_Result], compared: Sequence[Form]) -> list[SetResult]:
    """One for every folder of sets: sets to choose on and sets to report are kept apart in folders."""
    folders = dict.fromkeys(result.folder for result in results)
    return [
        _mean(folder, [each for each in results if each.folder == folder], compared) for folder in folders
    ]


def _mean(folder: str, members: Sequence[_Result], compared: Sequence[Form]) -> SetResult:
    good, defective = (sum(each.told.images[kind] for each in members) for kind in (0, 1))
    figures = mean_figures([each.drawn for each in members], compared)
    forms_kept = members[0].told.kept
    kept = {form: _mean_kept([each.told.kept[form] for each in members]) for form in forms_kept}
    return SetResult(f"mean of {len(members)} sets in {folder}", (good, defective), figures, kept)


def _mean_kept(kept: Sequence[Kept]) -> Kept:
    return Kept(*(float(value) for value in np.mean([astuple(each) for each in kept], axis=0)))


def main() -> None:
    """Entry."""
    run(app)


if __name__ == "__main__":
    main()
