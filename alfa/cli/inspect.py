"""`alfa-inspect`: judge image files; exit 1 if any is anomalous."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches
from alfa.cli.options import PROMPTS_DIRECTORY, BankOption, ConfigOption, PromptsOption
from alfa.cli.outputs import require_writable_directory, writing
from alfa.errors import BadInput, Fault
from alfa.files import write_atomic
from alfa.images import list_images, read_image
from alfa.inspector import Inspection, Inspector
from alfa.overlay import overlay
from alfa.prompting.promptset import find_prompt_file
from alfa.recipe import Recipe
from alfa.settings import load_model_settings

app = typer.Typer(add_completion=False)

EXIT_ANOMALOUS = 1


@app.command()
def inspect_command(
    images: Annotated[list[Path], typer.Argument(help="Image files or directories.", show_default=False)],
    prompts: PromptsOption,
    bank: BankOption = None,
    calibration: Annotated[Path | None, typer.Option("--calibration", help="Made by alfa-calibrate.")] = None,
    overlays: Annotated[Path | None, typer.Option("--overlays", help="Directory for overlay PNGs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table.")] = False,
    config: ConfigOption = None,
) -> None:
    """Judge images. Exit 0: all good, 1: at least one anomalous, 2: bad input, 3: fault."""
    settings = load_model_settings(config)
    if overlays is not None:
        require_writable_directory("--overlays", overlays)
    paths = list(_image_files(images))
    inspector = Inspector.load(find_prompt_file(prompts, PROMPTS_DIRECTORY), bank, calibration, settings)
    inspections = [
        inspection
        for _, pictures in image_batches(paths, "inspecting")
        for inspection in inspector.inspect(pictures)
    ]
    if overlays is not None:
        _save_overlays(overlays, paths, inspections, inspector.recipe)
    if as_json:
        print(json.dumps(_report(inspector, paths, inspections), indent=2, allow_nan=False))
    else:
        Console().print(_table(inspector.recipe, paths, inspections))
    _exit(paths, inspections)


def _image_files(given: list[Path]) -> Iterator[Path]:
    """Files as given, directories by their images.

    Raises:
        BadInput: a path does not exist, or a directory holds no image.
    """
    for path in given:
        try:
            is_directory, exists = path.is_dir(), path.exists()
        except OSError as error:
            raise BadInput(path, "", None, f"cannot be read: {error.strerror}; check the path") from error
        if not exists:
            raise BadInput(path, "", None, "no such image or directory; check the path")
        if is_directory:
            yield from list_images(path)
        else:
            yield path


def _save_overlays(directory: Path, paths: list[Path], inspections: list[Inspection], recipe: Recipe) -> None:
    """Only once all images are judged: one that cannot be read must leave nothing behind.

    The pictures are read again, because all of them at once may not fit into memory.
    """
    for number, (path, inspection) in enumerate(zip(paths, inspections, strict=True), start=1):
        _save_overlay(directory / f"{number:04d}-{path.stem}.png", read_image(path), inspection, recipe)


def _save_overlay(target: Path, picture: NDArray[np.uint8], inspection: Inspection, recipe: Recipe) -> None:
    text = f"{_verdict(inspection)} {inspection.score:.3f} / {inspection.threshold:.3f}"
    drawn = overlay(picture, inspection.anomaly_map, inspection.region, recipe.map_scale, text)
    _, png = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    with writing(target):
        write_atomic(target, png.tobytes())


def _verdict(inspection: Inspection) -> str:
    if not inspection.finite:
        return "FAULT"
    return "NG" if inspection.anomalous else "OK"


def _table(recipe: Recipe, paths: list[Path], inspections: list[Inspection]) -> Table:
    table = Table(
        title=f"{recipe.prompt_set.class_name}: threshold {recipe.score_threshold:.4f}, {_held(recipe)}"
    )
    for column in ("image", "verdict", "score", "S_G", "max S_L"):
        # Folded or whole: a name or number cut by an ellipsis is of no use.
        table.add_column(column, no_wrap=column != "image", overflow="fold")
    table.add_column("region")
    table.add_column("nearest descriptor")
    for path, inspection in zip(paths, inspections, strict=True):
        region = inspection.region
        table.add_row(
            # A file's directory often tells what it shows; the whole path would fill the terminal.
            str(Path(*path.parts[-2:])),
            _verdict(inspection),
            f"{inspection.score:.4f}",
            f"{inspection.s_global:.4f}",
            f"{inspection.s_local_max:.4f}",
            "-" if region is None else f"{region.width}x{region.height} at {region.x},{region.y}",
            inspection.reasons[0].text if inspection.reasons else "-",
        )
    return table


def _held(recipe: Recipe) -> str:
    """What the threshold holds."""
    if recipe.calibration is not None:
        return f"false-reject rate {recipe.calibration.alpha:g}"
    # Distances come on top of S_L, and a good part's are above 1.
    with_bank = "; with a bank good parts lie above it, run alfa-calibrate" if recipe.bank else ""
    return f"not calibrated{with_bank}"


def _report(inspector: Inspector, paths: list[Path], inspections: list[Inspection]) -> dict[str, Any]:
    recipe = inspector.recipe
    return {
        "model": inspector.backbone.model_id,
        "weights_hash": recipe.binding.weights_hash,
        "prompts_hash": recipe.prompts_hash,
        "bank_hash": recipe.bank_hash,
        "calibration_hash": recipe.calibration_hash,
        "threshold": recipe.score_threshold,
        "calibrated": recipe.calibration is not None,
        "images": [
            _entry(path, inspection, recipe) for path, inspection in zip(paths, inspections, strict=True)
        ],
    }


def _entry(path: Path, inspection: Inspection, recipe: Recipe) -> dict[str, Any]:
    if not inspection.finite:
        return {"image": str(path), "verdict": "FAULT"}
    region = inspection.region
    calibration = recipe.calibration
    return {
        "image": str(path),
        "verdict": _verdict(inspection),
        "score": inspection.score,
        "normalised_score": None if calibration is None else calibration.normalised(inspection.score),
        "s_global": inspection.s_global,
        "s_local_max": inspection.s_local_max,
        "region": None
        if region is None
        else {
            "x": region.x,
            "y": region.y,
            "width": region.width,
            "height": region.height,
            "area": region.area,
        },
        "reasons": [{"text": reason.text, "similarity": reason.similarity} for reason in inspection.reasons],
        "kept_normal": inspection.kept_normal,
        "kept_abnormal": inspection.kept_abnormal,
        "side_was_empty": inspection.side_was_empty,
    }


def _exit(paths: list[Path], inspections: list[Inspection]) -> None:
    """Not judged weighs more than anomalous, anomalous more than good."""
    unjudged = [
        str(path) for path, inspection in zip(paths, inspections, strict=True) if not inspection.finite
    ]
    if unjudged:
        detail = f"{len(unjudged)} of {len(paths)} images were not judged, the first is {unjudged[0]}"
        raise Fault("non_finite_score", detail)
    if any(inspection.anomalous for inspection in inspections):
        raise typer.Exit(EXIT_ANOMALOUS)


def main() -> None:
    """Console script."""
    run(app)


if __name__ == "__main__":
    main()
