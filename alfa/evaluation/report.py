"""An evaluation as JSON and CSV: every row with mean and deviation, and what it depends on."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alfa.evaluation.protocol import METRICS, ClassResult, Row, mean_over_classes
from alfa.settings import ModelSettings

MEAN = "mean"
HEADINGS = {
    "image_auroc": "image AUROC",
    "image_aupr": "image AUPR",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_pro": "PRO",
    "pixel_f1_max": "pixel F1-max",
}


@dataclass(frozen=True, slots=True)
class PromptsUsed:
    """Which prompts a class was judged with: the file's name and its content hash."""

    file: str
    content_hash: str


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What is reported.

    Attributes:
        name: of the data set.
        model_id: name and origin of the weights.
        weights_hash: of the weights.
        settings: of the method.
        shots: numbers of taught images.
        seeds: permutations each.
        limit: of test images a class, where one was given.
        prompts: class -> prompts.
        results: class by class.
    """

    name: str
    model_id: str
    weights_hash: str
    settings: ModelSettings
    shots: tuple[int, ...]
    seeds: int
    limit: int | None
    prompts: dict[str, PromptsUsed]
    results: tuple[ClassResult, ...]

    @property
    def settings_told(self) -> dict[str, Any]:
        """Without the place of the weights on this machine, which says nothing of them; their hash does."""
        return self.settings.model_dump(exclude={"pretrained"}, mode="json")

    @property
    def mean(self) -> tuple[Row, ...]:
        """Rows of the mean over classes."""
        return mean_over_classes(self.results)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but curves and pictures, for `json.dumps`."""
    return {
        "dataset": evaluation.name,
        "model": evaluation.model_id,
        "weights_hash": evaluation.weights_hash,
        "settings": evaluation.settings_told,
        "shots": list(evaluation.shots),
        "seeds": evaluation.seeds,
        "limit": evaluation.limit,
        "classes": [_class(evaluation, result) for result in evaluation.results],
        MEAN: [_row(row) for row in evaluation.mean],
    }


def as_csv(evaluation: Evaluation) -> str:
    """One line a class and row, the mean over classes last."""
    columns = ["class", "row", "part", "repeats", *(name for each in METRICS for name in (each, _std(each)))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"class": name, **_row(row)} for name, row in _all_rows(evaluation))
    return text.getvalue()


def figure_text(row: Row, metric: str) -> str:
    """In percent, with the deviation where there is one; a dash where the row has no such figure."""
    mean, std = row.mean(metric), row.std(metric)
    if mean is None:
        return "-"
    return f"{100 * mean:.1f}" if std is None else f"{100 * mean:.1f} ± {100 * std:.1f}"


def _all_rows(evaluation: Evaluation) -> Iterator[tuple[str, Row]]:
    for result in evaluation.results:
        yield from ((result.dataset.name, row) for row in result.rows)
    yield from ((MEAN, row) for row in evaluation.mean)


def _class(evaluation: Evaluation, result: ClassResult) -> dict[str, Any]:
    dataset = result.dataset
    prompts = evaluation.prompts[dataset.name]
    return {
        "class": dataset.name,
        "good": dataset.good,
        "defective": dataset.defective,
        "masks": result.masks,
        "train": len(dataset.train),
        "prompts": prompts.file,
        "prompts_hash": prompts.content_hash,
        "rows": [_row(row) for row in result.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    figures = {name: value for each in METRICS for name, value in _figure(row, each).items()}
    return {"row": row.name, "part": row.part, "repeats": len(row.repeats), **figures}


def _figure(row: Row, metric: str) -> dict[str, float | None]:
    return {metric: row.mean(metric), _std(metric): row.std(metric)}


def _std(metric: str) -> str:
    return f"{metric}_std"
