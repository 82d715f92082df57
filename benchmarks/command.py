"""`python benchmarks/quality.py`: the comparison over a folder of sets, as one command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console

from alfa.backbone import Backbone
from alfa.cli.entry import run
from alfa.cli.options import PROMPTS_DIRECTORY, ConfigOption
from alfa.errors import BadInput
from alfa.evaluation.datasets import Dataset, find_datasets
from alfa.evaluation.prompt_choice import choose_prompts
from alfa.files import write_atomic
from alfa.inspector import Recipe
from alfa.settings import ModelSettings, load_model_settings
from benchmarks.comparison import Plan, compare
from benchmarks.contenders import contenders
from benchmarks.report import SetReport, document, means, set_title, table
from benchmarks.summary import over_seeds

app = typer.Typer(add_completion=False)


@app.command()
def quality(
    data: Annotated[
        Path,
        typer.Option("--data", help="A set, a folder of sets, or a folder of such.", show_default=False),
    ],
    sets: Annotated[str, typer.Option("--sets", help="Only these, with commas.", show_default="all")] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="About as many test images a set, out of all kinds.")
    ] = None,
    shots: Annotated[str, typer.Option("--shots", help="Good images to teach, with commas.")] = "0,1,4",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Choices of the taught images.")] = 5,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompts", help="NAME for all sets or SET=NAME.", show_default="by the set's name"),
    ] = None,
    config: ConfigOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write all figures to this JSON file.")] = None,
) -> None:
    """ALFA beside WinCLIP, AnomalyDINO, PatchCore and trivial baselines, on the same weights and images."""
    plan = Plan(_counts(shots), seeds)
    datasets = [dataset.limited(limit) for dataset in _chosen(data, sets, plan)]
    files = choose_prompts([dataset.name for dataset in datasets], prompts or [], PROMPTS_DIRECTORY)
    settings = load_model_settings(config)
    backbone = Backbone.load(settings)
    console = Console()
    reports = []
    for dataset in datasets:
        report = _report(dataset, files[dataset.name], backbone, settings, plan)
        console.print(table(set_title(report), report.rows))
        reports.append(report)
        # After every set, so that a run that is stopped leaves what it measured.
        if out is not None:
            content = document(reports, backbone, settings, plan, sys.argv)
            write_atomic(out, json.dumps(content, indent=2).encode())
    for title, rows in means(reports).items():
        console.print(table(title, rows))


def _report(
    dataset: Dataset, prompts: Path, backbone: Backbone, settings: ModelSettings, plan: Plan
) -> SetReport:
    start = perf_counter()
    recipe = Recipe.load(backbone, prompts, settings=settings)
    figures = compare(dataset, backbone, contenders(backbone, recipe, settings), plan)
    return SetReport(
        dataset=dataset,
        prompts=prompts.stem,
        prompts_hash=recipe.prompts_hash,
        class_name=recipe.prompt_set.class_name,
        seconds=perf_counter() - start,
        rows=tuple(over_seeds(figures)),
    )


def _counts(text: str) -> tuple[int, ...]:
    """`0,1,4` as numbers, each once, in order.

    Raises:
        BadInput: it is no such list.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise BadInput("--shots", "", text, "give numbers of good images with commas, such as 0,1,4")
    return tuple(sorted({int(part) for part in parts}))


def _chosen(data: Path, names: str, plan: Plan) -> list[Dataset]:
    """The sets to judge, with images to teach from where the plan needs them.

    Raises:
        BadInput: a set is not there, or has fewer good training images than the plan teaches.
    """
    found = {dataset.name: dataset for dataset in find_datasets(data)}
    wanted = [name.strip() for name in names.split(",")] if names else list(found)
    for name in wanted:
        if name not in found:
            raise BadInput("--sets", "", name, f"is not in {data}; it holds {', '.join(found)}")
    if not plan.most_shots:
        return [found[name] for name in wanted]
    return [_teachable(found[name], plan) for name in wanted]


def _teachable(dataset: Dataset, plan: Plan) -> Dataset:
    dataset = dataset.with_training_images()
    if len(dataset.train) < plan.most_shots:
        advice = f"{dataset.name} has {len(dataset.train)} good training images; ask for fewer"
        raise BadInput("--shots", "", plan.most_shots, advice)
    return dataset


def main() -> None:
    """Entry."""
    run(app)
