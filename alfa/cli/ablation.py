"""`alfa-eval --ablation`: the paper's Tables 2, 3 and 6."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from alfa.backbone import Backbone
from alfa.cli.image_batches import image_batches, tracked
from alfa.cli.outputs import write_reports
from alfa.evaluation.ablation import (
    SHOTS,
    ablation_settings,
    ablation_variants,
    prompt_counts,
    whole_method,
)
from alfa.evaluation.ablation_report import Ablation, ablation_csv, ablation_json
from alfa.evaluation.datasets import Dataset
from alfa.evaluation.protocol import ClassResult, judge_dataset, measure
from alfa.evaluation.store import ResultStore
from alfa.evaluation.variants import ShotBanks
from alfa.recipe import Recipe
from alfa.settings import ModelSettings


def ablate(
    name: str,
    classes: Sequence[Dataset],
    prompts: Mapping[str, Path],
    settings: ModelSettings,
    seeds: int,
    store: ResultStore,
) -> Ablation:
    """All tables, each image encoded once.

    Args:
        name: of the data set.
        classes: with enough images to teach from.
        prompts: class -> prompt file.
        settings: of the whole method; scales and patch level are the ablation's own.
        seeds: permutations of the taught images.
        store: where results go, image by image.

    Raises:
        BadInput: a prompt file or image is wrong, or the store holds results of another identity.
    """
    backbone = Backbone.load(ablation_settings(settings))
    recipes = {
        each.name: Recipe.load(backbone, prompts[each.name], settings=backbone.settings) for each in classes
    }
    results = [
        _result(backbone, each, recipes[each.name], settings, ShotBanks(backbone, each, SHOTS, seeds), store)
        for each in classes
    ]
    whole = whole_method(settings)
    return Ablation(
        name=name,
        model_id=backbone.model_id,
        weights_hash=backbone.weights_hash,
        aligner=whole.aligner,
        contextual=whole.contextual,
        results=tuple(results),
        prompts={class_name: prompt_counts(recipe) for class_name, recipe in recipes.items()},
    )


def write_ablation(ablation: Ablation, out: Path) -> None:
    """`ablation.json` and `ablation.csv` in a directory."""
    reports = {
        "ablation.json": json.dumps(ablation_json(ablation), indent=2) + "\n",
        "ablation.csv": ablation_csv(ablation),
    }
    write_reports(out, reports)


def _result(
    backbone: Backbone,
    dataset: Dataset,
    recipe: Recipe,
    settings: ModelSettings,
    banks: ShotBanks,
    store: ResultStore,
) -> ClassResult:
    variants = ablation_variants(backbone, recipe, settings, banks)
    judge_dataset(dataset, backbone, variants, store, image_batches, banks)
    return measure(dataset, variants, store, tracked)
