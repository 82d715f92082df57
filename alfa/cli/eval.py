"""`alfa-eval`: the method on data sets with known answers, beside trivial baselines."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from alfa.backbone import Backbone
from alfa.cli.ablation import ablate, write_ablation
from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches, tracked
from alfa.cli.options import PROMPTS_DIRECTORY, BankOption, ConfigOption
from alfa.cli.outputs import require_writable_directory, write_reports
from alfa.errors import BadInput
from alfa.evaluation.ablation import SHOTS as ABLATION_SHOTS
from alfa.evaluation.ablation_report import Ablation, ablation_csv, ablation_json, ablation_tables
from alfa.evaluation.datasets import Dataset, find_datasets
from alfa.evaluation.prompt_choice import choose_prompts
from alfa.evaluation.protocol import ClassResult, judge_dataset, measure
from alfa.evaluation.report import Evaluation, PromptsUsed, as_csv, as_json
from alfa.evaluation.store import FILE_NAME, ResultStore
from alfa.evaluation.tables import evaluation_tables, print_tables
from alfa.evaluation.variants import ShotBanks, Variant, recipe_variant, require_shots, shot_variants
from alfa.recipe import Recipe
from alfa.settings import ModelSettings, load_model_settings

app = typer.Typer(add_completion=False)

_MOST_SHOTS = 1000


@app.command()
def eval_command(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="One class, or a data set of many: MVTec AD or VisA layout, or good/ and other folders.",
            show_default=False,
        ),
    ],
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            "--prompts",
            help="Prompt file or class name for all classes, or CLASS=NAME for one; may be repeated.",
            show_default="by the class's name, else generic",
        ),
    ] = None,
    shots: Annotated[
        str, typer.Option("--shots", help="Numbers of good images to teach, such as 0,1,2,4,8,16.")
    ] = "0",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Random choices of the images taught.")] = 5,
    bank: BankOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="About as many test images a class, of all kinds.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Directory for results and reports; the same one again goes on in it."),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget the results in --out.")] = False,
    ablation: Annotated[
        bool,
        typer.Option("--ablation", help="The paper's Tables 2, 3 and 6, at 0, 1, 2 and 4 shots, instead."),
    ] = False,
    to_json: Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table.")] = False,
    to_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout instead of a table.")] = False,
    config: ConfigOption = None,
) -> None:
    """AUROC, AUPR, F1-max over images; AUROC, PRO, F1-max over pixels; zero-shot and after teaching."""
    numbers = _shots(shots)
    _require_options_that_agree(numbers, bank, out, restart)
    if ablation:
        _require_no_choice_of_shots(numbers, bank)
        numbers = ABLATION_SHOTS
    settings = load_model_settings(config)
    classes = _classes(dataset, numbers, limit)
    _require_one_class(classes, bank)
    files = choose_prompts([each.name for each in classes], prompts or [], PROMPTS_DIRECTORY)
    if ablation:
        with _results(out, restart) as store:
            tables = ablate(dataset.resolve().name, classes, files, settings, seeds, store)
        if out is not None:
            write_ablation(tables, out)
        _print_ablation(tables, to_json, to_csv)
        return
    backbone = Backbone.load(settings)
    recipes = {name: Recipe.load(backbone, path, bank, settings=settings) for name, path in files.items()}
    with _results(out, restart) as store:
        results = [
            _evaluate(each, backbone, recipes[each.name], settings, numbers, seeds, store) for each in classes
        ]
        evaluation = Evaluation(
            name=dataset.resolve().name,
            model_id=backbone.model_id,
            weights_hash=backbone.weights_hash,
            settings=settings,
            shots=numbers,
            seeds=seeds,
            limit=limit,
            prompts={name: PromptsUsed(files[name].name, recipes[name].prompts_hash) for name in files},
            results=tuple(results),
        )
        if out is not None:
            _write_reports(evaluation, store, out)
    _print(evaluation, to_json, to_csv)


def _evaluate(
    dataset: Dataset,
    backbone: Backbone,
    recipe: Recipe,
    settings: ModelSettings,
    shots: Sequence[int],
    seeds: int,
    store: ResultStore,
) -> ClassResult:
    banks = ShotBanks(backbone, dataset, shots, seeds)
    variants = _variants(backbone, recipe, settings, banks, shots)
    judge_dataset(dataset, backbone, variants, store, image_batches, banks)
    return measure(dataset, variants, store, tracked)


def _variants(
    backbone: Backbone, recipe: Recipe, settings: ModelSettings, banks: ShotBanks, shots: Sequence[int]
) -> list[Variant]:
    if recipe.bank is not None:
        return [recipe_variant(f"bank {recipe.bank_hash}", recipe, settings, backbone)]
    return shot_variants(recipe, settings, backbone, banks, shots)


def _shots(text: str) -> tuple[int, ...]:
    """`0,1,4` as sorted numbers.

    Raises:
        BadInput: it is none, or out of range.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) <= _MOST_SHOTS for part in parts):
        raise BadInput("--shots", "", text, f"give numbers from 0 to {_MOST_SHOTS}, such as 0,1,2,4")
    return tuple(sorted({int(part) for part in parts}))


def _require_options_that_agree(
    shots: tuple[int, ...], bank: Path | None, out: Path | None, restart: bool
) -> None:
    if bank is not None and max(shots):
        raise BadInput("--shots", "", max(shots), "does not go with --bank; give one of them")
    if restart and out is None:
        raise BadInput("--restart", "", None, "forgets the results in --out; give that too")
    if out is not None:
        require_writable_directory("--out", out)


def _require_no_choice_of_shots(shots: tuple[int, ...], bank: Path | None) -> None:
    advice = f"does not go with --ablation, which teaches {', '.join(map(str, ABLATION_SHOTS))}; leave it out"
    if max(shots):
        raise BadInput("--shots", "", max(shots), advice)
    if bank is not None:
        raise BadInput("--bank", "", str(bank), advice)


def _classes(root: Path, shots: tuple[int, ...], limit: int | None) -> tuple[Dataset, ...]:
    found = find_datasets(root)
    if max(shots):
        found = tuple(each.with_training_images() for each in found)
    for each in found:
        require_shots(each, max(shots))
    return tuple(each.limited(limit) for each in found)


def _require_one_class(classes: Sequence[Dataset], bank: Path | None) -> None:
    if bank is not None and len(classes) > 1:
        advice = f"is of one class, the data set has {len(classes)}; give the folder of one"
        raise BadInput("--bank", "", str(bank), advice)


@contextmanager
def _results(out: Path | None, restart: bool) -> Iterator[ResultStore]:
    """In `out`, to go on with later, or in a directory that goes away."""
    with tempfile.TemporaryDirectory() as passing:
        store = ResultStore((out or Path(passing)) / FILE_NAME, restart=restart)
        with closing(store):
            yield store


def _write_reports(evaluation: Evaluation, store: ResultStore, out: Path) -> None:
    # Imported here: plotting takes a while to load, and only a report needs it.
    from alfa.evaluation.html_report import as_html

    reports = {
        "report.json": json.dumps(as_json(evaluation), indent=2) + "\n",
        "report.csv": as_csv(evaluation),
        "report.html": as_html(evaluation, store),
    }
    write_reports(out, reports)


def _print(evaluation: Evaluation, to_json: bool, to_csv: bool) -> None:
    if to_json:
        print(json.dumps(as_json(evaluation), indent=2))
    elif to_csv:
        print(as_csv(evaluation), end="")
    else:
        print_tables(evaluation_tables(evaluation))


def _print_ablation(ablation: Ablation, to_json: bool, to_csv: bool) -> None:
    if to_json:
        print(json.dumps(ablation_json(ablation), indent=2))
    elif to_csv:
        print(ablation_csv(ablation), end="")
    else:
        print_tables(ablation_tables(ablation))


def main() -> None:
    """Console script."""
    run(app)


if __name__ == "__main__":
    main()
