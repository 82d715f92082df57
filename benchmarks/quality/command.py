"""`python -m benchmarks.quality`: the comparison over a folder of sets, as one command."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from alfa.cli.entry import run as run_app
from alfa.cli.image_batches import image_batches, tracked
from alfa.cli.options import PROMPTS_DIRECTORY, ConfigOption
from alfa.cli.outputs import require_writable, require_writable_directory, writing
from alfa.errors import BadInput
from alfa.evaluation.datasets import Dataset, find_datasets
from alfa.evaluation.prompt_choice import choose_prompts
from alfa.evaluation.protocol import judge_dataset, measure
from alfa.evaluation.store import FILE_NAME, ResultStore
from alfa.evaluation.tables import print_tables
from alfa.evaluation.variants import ShotBanks, require_shots
from alfa.files import write_atomic
from alfa.recipe import Recipe
from alfa.settings import load_model_settings
from benchmarks.quality.contenders import contenders, load_with_windows
from benchmarks.quality.report import Run, SetReport, document, means, table, title
from benchmarks.quality.variants import common_identity, shot_variants, taught_images

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
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Random choices of the images taught.")] = 5,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompts", help="NAME for all sets or SET=NAME.", show_default="by the set's name"),
    ] = None,
    config: ConfigOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write all figures to this JSON file.")] = None,
    work: Annotated[
        Path | None,
        typer.Option("--work", help="Directory for results; the same one again goes on in it."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget the results in --work.")] = False,
) -> None:
    """ALFA beside WinCLIP, AnomalyDINO, PatchCore and trivial baselines, on the same weights and images."""
    numbers = _counts(shots)
    _require_writable(out, work)
    datasets = _chosen(data, sets, numbers, limit)
    files = choose_prompts([dataset.name for dataset in datasets], prompts or [], PROMPTS_DIRECTORY)
    settings = load_model_settings(config)
    run = Run(tuple(sys.argv), load_with_windows(settings), settings, numbers, seeds, limit)
    reports: list[SetReport] = []
    with _results(work, restart) as store:
        for dataset in datasets:
            reports.append(_compare(dataset, files[dataset.name], run, store))
            print_tables([table(title(reports[-1]), reports[-1].result.rows)])
            # After every set, so that a run that is stopped leaves what it measured.
            _write(out, run, reports)
    print_tables(table(heading, rows) for heading, rows in means(reports).items())


def _compare(dataset: Dataset, prompts: Path, run: Run, store: ResultStore) -> SetReport:
    """One set: each image through the backbone once, every contender on the same features."""
    start = perf_counter()
    backbone, settings = run.backbone, run.settings
    recipe = Recipe.load(backbone, prompts, settings=settings)
    choice = ShotBanks(backbone, dataset, run.shots, run.seeds)
    variants = shot_variants(
        rows=contenders(backbone, recipe, settings),
        shots=run.shots,
        choice=choice,
        known=taught_images(dataset, backbone, choice, image_batches),
        identity=common_identity(backbone, recipe, settings),
    )
    judge_dataset(dataset, backbone, variants, store, image_batches)
    return SetReport(
        result=measure(dataset, variants, store, tracked),
        prompts=prompts.stem,
        prompts_hash=recipe.prompts_hash,
        class_name=recipe.prompt_set.class_name,
        seconds=perf_counter() - start,
    )


def _counts(text: str) -> tuple[int, ...]:
    """`0,1,4` as numbers, each once, in order.

    Raises:
        BadInput: it is no such list.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise BadInput("--shots", "", text, "give numbers of good images with commas, such as 0,1,4")
    return tuple(sorted({int(part) for part in parts}))


def _require_writable(out: Path | None, work: Path | None) -> None:
    if out is not None:
        require_writable("--out", out)
    if work is not None:
        require_writable_directory("--work", work)


def _chosen(data: Path, names: str, shots: Sequence[int], limit: int | None) -> list[Dataset]:
    """The sets to judge, with images to teach from where there are shots.

    Raises:
        BadInput: a set is not there, or has fewer good training images than the most shots.
    """
    found = {dataset.name: dataset for dataset in find_datasets(data)}
    wanted = [name.strip() for name in names.split(",")] if names else list(found)
    for name in wanted:
        if name not in found:
            raise BadInput("--sets", "", name, f"is not in {data}; it holds {', '.join(found)}")
    chosen = [found[name].with_training_images() if max(shots) else found[name] for name in wanted]
    for dataset in chosen:
        require_shots(dataset, max(shots))
    return [dataset.limited(limit) for dataset in chosen]


@contextmanager
def _results(work: Path | None, restart: bool) -> Iterator[ResultStore]:
    """In `work`, to go on with later, or in a directory that goes away."""
    with (
        tempfile.TemporaryDirectory() as passing,
        closing(ResultStore((work or Path(passing)) / FILE_NAME, restart=restart)) as store,
    ):
        yield store


def _write(out: Path | None, run: Run, reports: Sequence[SetReport]) -> None:
    if out is not None:
        with writing(out):
            write_atomic(out, (json.dumps(document(run, reports), indent=2) + "\n").encode())


def main() -> None:
    """Entry."""
    run_app(app)
