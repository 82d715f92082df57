"""What each line is judged with: read, checked against the model, and tried before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alfa.backbone import Backbone
from alfa.calibration import Calibration
from alfa.errors import BadInput
from alfa.features import ImageFeatures
from alfa.inspector import judge
from alfa.memory import MemoryBank
from alfa.prompting.promptset import find_prompt_file, load_prompt_set
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from edge.detector.verdicts import Stamp
from edge.settings import LineSettings, Settings, load_settings

_PROBE_GREY = 128


@dataclass(frozen=True, slots=True, eq=False)
class LineRecipe:
    """A line's recipe and what its verdicts say of it."""

    recipe: Recipe
    stamp: Stamp


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """All that judging needs.

    Attributes:
        backbone: the model.
        settings: of the model.
        probe: features of a full batch of plain images, on which a recipe is tried.
        recipes: by line.
    """

    backbone: Backbone
    settings: ModelSettings
    probe: ImageFeatures
    recipes: Mapping[str, LineRecipe]


def check_files(config: Path, settings: Settings, detector: str) -> None:
    """Read every file of the detector's lines once, so that a wrong one is told before anything starts.

    Raises:
        BadInput: a file is missing or damaged. Whether it fits the model, only `load` can tell.
    """
    for name, line in settings.lines_of(detector).items():
        load_prompt_set(_known_prompts_path(config, settings, name, line))
        if line.bank is not None:
            MemoryBank.load(line.bank)
        if line.calibration is not None:
            Calibration.load(line.calibration)


def load(settings: Settings, detector: str) -> Loaded:
    """Load the model and the recipes of the detector's lines, and run both before the first part comes.

    The model is run in its own shape, on a GPU with a full batch too, and each recipe on one image and on a
    full batch: kernels are chosen, caches filled and memory taken. An image of another shape still pays for
    its positions and window layout once; which shapes come, only the cameras know.

    Raises:
        BadInput: a file is missing, damaged, or made for another model, prompt set or bank.
        Fault: weights had to be downloaded and could not be.
    """
    backbone = Backbone.load(settings.model)
    probe = _probe(backbone, settings.detector.max_batch)
    recipes = _load_recipes(settings, detector, backbone, probe)
    return Loaded(backbone, settings.model, probe, recipes)


def reload(loaded: Loaded, config: Path, detector: str) -> Mapping[str, LineRecipe]:
    """The recipes as config.toml and its files are now, for the model that is loaded; the old stay untouched.

    Of the config, what a line is judged with is taken: `prompts`, `bank`, `calibration` and `recipe`.

    Raises:
        BadInput: as `load`; also when the model or the detector's lines are others now.
    """
    settings = load_settings(config)
    if settings.model != loaded.settings:
        raise BadInput(config, "model", None, "has changed; restart the detector to load another model")
    if settings.lines_of(detector).keys() != loaded.recipes.keys():
        raise BadInput(config, "lines", None, f"detector {detector!r} has other lines now; restart it")
    return _load_recipes(settings, detector, loaded.backbone, loaded.probe)


def _load_recipes(
    settings: Settings, detector: str, backbone: Backbone, probe: ImageFeatures
) -> Mapping[str, LineRecipe]:
    known: dict[tuple[Path, Path | None, Path | None], Recipe] = {}  # lines of one product share a recipe
    recipes: dict[str, LineRecipe] = {}
    for name, line in settings.lines_of(detector).items():
        files = (_prompts_path(settings, line), line.bank, line.calibration)
        if files not in known:
            known[files] = Recipe.load(backbone, *files, settings=settings.model)
            _try(known[files], probe, settings.model, backbone.image_size)
        recipes[name] = LineRecipe(known[files], _stamp(known[files], backbone, line, detector))
    return recipes


def _probe(backbone: Backbone, max_batch: int) -> ImageFeatures:
    """Also the model's first passes, which cost more than those after them; no part should wait for that."""
    plain = np.full((*backbone.image_size, 3), _PROBE_GREY, np.uint8)
    # One image first: only so many shapes are recorded, and most parts come alone.
    [(_, one)] = backbone.encode([plain])
    # On a GPU each number of images is a recording of its own (alfa/cuda_graphs.py); without them a full
    # batch takes its memory now. On a processor the first batch costs no more than the next, and a detector
    # that starts again should not pay for eight images.
    if backbone.device.type == "cuda":
        for images in range(2 if backbone.records else max_batch, max_batch + 1):
            backbone.encode([plain] * images)
    return one.select([0] * max_batch)


def _try(recipe: Recipe, probe: ImageFeatures, settings: ModelSettings, size: tuple[int, int]) -> None:
    """On a full batch, and on one image, as most parts come."""
    for images in (len(probe.image), 1):
        judge(probe.select(slice(images)), recipe, settings, [size] * images)


def _known_prompts_path(config: Path, settings: Settings, name: str, line: LineSettings) -> Path:
    """`_prompts_path`, and a class that is not there is told by the key that names it."""
    try:
        return _prompts_path(settings, line)
    except BadInput as error:
        raise BadInput(config, f"lines.{name}.prompts", line.prompts, error.advice) from error


def _prompts_path(settings: Settings, line: LineSettings) -> Path:
    return find_prompt_file(line.prompts, settings.paths.prompts)


def _stamp(recipe: Recipe, backbone: Backbone, line: LineSettings, detector: str) -> Stamp:
    return Stamp(
        judged_by=detector,
        recipe=line.recipe,
        prompts=recipe.prompts_hash,
        bank=recipe.bank_hash,
        model=backbone.weights_hash,
        calibration=recipe.calibration_hash,
    )
