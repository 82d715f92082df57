"""`alfa-calibrate`: the threshold from good parts, for a stated rate of false rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alfa.calibration import calibrate, conformal_rank
from alfa.cli.entry import run
from alfa.cli.image_batches import image_batches, select_images
from alfa.cli.options import (
    PROMPTS_DIRECTORY,
    BankOption,
    ConfigOption,
    LimitOption,
    PromptsOption,
    SeedOption,
    SkipOption,
)
from alfa.cli.outputs import require_writable, writing
from alfa.errors import BadInput
from alfa.files import file_hash
from alfa.inspector import Inspection, Inspector
from alfa.memory import MemoryBank
from alfa.prompting.promptset import find_prompt_file
from alfa.settings import load_model_settings

app = typer.Typer(add_completion=False)


@app.command()
def calibrate_command(
    images: Annotated[Path, typer.Argument(help="Directory of good images.", show_default=False)],
    prompts: PromptsOption,
    out: Annotated[Path, typer.Option("--out", help="Calibration file to write.", show_default=False)],
    bank: BankOption = None,
    alpha: Annotated[float, typer.Option("--alpha", help="Rate of good parts that may be rejected.")] = 0.05,
    skip: SkipOption = 0,
    limit: LimitOption = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
) -> None:
    """Set the threshold from good images that were not taught to the bank."""
    settings = load_model_settings(config)
    require_writable("--out", out)
    paths = select_images(images, skip, limit, seed)
    # Known before the model is loaded, so that a wish that cannot be met costs nothing.
    conformal_rank(len(paths), alpha)
    inspector = Inspector.load(find_prompt_file(prompts, PROMPTS_DIRECTORY), bank, settings=settings)
    _require_untaught(paths, inspector.recipe.bank)
    inspections: list[Inspection] = []
    image_side = 0
    for _, pictures in image_batches(paths, "calibrating"):
        inspections += inspector.inspect(pictures)
        image_side = max(image_side, *(max(picture.shape[:2]) for picture in pictures))
    calibration = calibrate(inspections, alpha, inspector.recipe.binding, image_side)
    with writing(out):
        calibration.save(out)
    print(
        f"{out}: threshold {calibration.score_threshold:.4f} (good median {calibration.score_median:.4f}) "
        f"from {calibration.n} images at a false-reject rate of {alpha:g}, "
        f"calibration {calibration.content_hash}"
    )


def _require_untaught(paths: list[Path], bank: MemoryBank | None) -> None:
    """A taught image is at distance 0 from itself: its score says nothing of a new good part.

    Raises:
        BadInput: an image is in the bank.
    """
    if bank is None:
        return
    for path in paths:
        if file_hash(path) in bank.info.sources:
            advice = "was taught to the bank; calibrate on other images (--skip those taught)"
            raise BadInput(path, "", None, advice)


def main() -> None:
    """Console script."""
    run(app)


if __name__ == "__main__":
    main()
