"""`alfa-eval`: the method on a data set with known answers, beside trivial baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches
from alfa.cli.options import PROMPTS_DIRECTORY, BankOption, ConfigOption, PromptsOption
from alfa.errors import BadInput
from alfa.evaluation.datasets import Dataset, LabelledImage, read_dataset, spread_over_kinds
from alfa.evaluation.protocol import Result, evaluate, teach
from alfa.inspector import Inspector
from alfa.prompting.promptset import find_prompt_file
from alfa.settings import load_model_settings

app = typer.Typer(add_completion=False)


@app.command()
def eval_command(
    dataset: Annotated[Path, typer.Argument(help="One class in the MVTec AD layout.", show_default=False)],
    prompts: PromptsOption,
    shots: Annotated[int, typer.Option("--shots", min=0, help="Good training images to teach first.")] = 0,
    bank: BankOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=2, help="About as many test images, out of all kinds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table.")] = False,
    config: ConfigOption = None,
) -> None:
    """AUROC over images and pixels, zero-shot or after teaching the first K training images."""
    if shots and bank is not None:
        raise BadInput("--shots", "", shots, "does not go with --bank; give one of them")
    settings = load_model_settings(config)
    known = read_dataset(dataset)
    images = known.test if limit is None else spread_over_kinds(known.test, limit)
    taught = _training_images(dataset, known, shots)
    inspector = Inspector.load(find_prompt_file(prompts, PROMPTS_DIRECTORY), bank, settings=settings)
    if taught:
        inspector = teach(inspector, image_batches(taught, "teaching"))
    results = evaluate(inspector, images, image_batches([image.path for image in images], "judging"))
    if as_json:
        print(json.dumps(_report(inspector, known, images, shots, results), indent=2))
    else:
        Console().print(_table(inspector, known, images, shots, results))


def _training_images(directory: Path, known: Dataset, shots: int) -> list[Path]:
    """The first K good training images.

    Raises:
        BadInput: there are fewer.
    """
    if shots > len(known.train):
        advice = f"{directory}/train/good holds {len(known.train)} images; ask for fewer"
        raise BadInput("--shots", "", shots, advice)
    return list(known.train[:shots])


def _table(
    inspector: Inspector, known: Dataset, images: tuple[LabelledImage, ...], shots: int, results: list[Result]
) -> Table:
    good = sum(not image.abnormal for image in images)
    title = f"{known.name}: {good} good, {len(images) - good} defective, {_teaching(inspector, shots)}"
    table = Table(title=f"{title}, {inspector.backbone.model_id}")
    table.add_column("score")
    for column in ("image AUROC", "pixel AUROC"):
        table.add_column(column, justify="right")
    for result in results:
        pixel = "-" if result.pixel is None else f"{100 * result.pixel:.1f}"
        table.add_row(result.name, f"{100 * result.image:.1f}", pixel)
    return table


def _teaching(inspector: Inspector, shots: int) -> str:
    if shots:
        return f"{shots}-shot"
    return "zero-shot" if inspector.recipe.bank is None else f"bank {inspector.recipe.bank_hash}"


def _report(
    inspector: Inspector, known: Dataset, images: tuple[LabelledImage, ...], shots: int, results: list[Result]
) -> dict[str, Any]:
    return {
        "dataset": known.name,
        "model": inspector.backbone.model_id,
        "weights_hash": inspector.recipe.binding.weights_hash,
        "prompts_hash": inspector.recipe.prompts_hash,
        "bank_hash": inspector.recipe.bank_hash,
        "shots": shots,
        "good": sum(not image.abnormal for image in images),
        "defective": sum(image.abnormal for image in images),
        "auroc": {result.name: {"image": result.image, "pixel": result.pixel} for result in results},
    }


def main() -> None:
    """Console script."""
    run(app)


if __name__ == "__main__":
    main()
