"""All forms on the images of one set: what each makes of every image, from the same features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from alfa.evaluation.bootstrap import Counts, Values
from alfa.evaluation.datasets import LabelledImage
from alfa.evaluation.metrics import Truth, at_size
from alfa.features import ImageFeatures
from alfa.images import read_image
from alfa.inspector import Scores, score
from alfa.recipe import Recipe
from alfa.settings import AlignerName, ModelSettings
from tools.compare_forms.cached_features import FeatureCache

PAPER_PATH = "windows"
WITH_PATCHES = "windows + patches"
CONTEXTUAL = "contextual"
NO_WINDOWS = "patches alone"
_ROBUST_QUANTILES = (0.05, 0.1, 0.25)
# The map is in [0, 1]; float16 has so many values there, in the order of their bits.
_MAP_VALUES = int(np.float16(1).view(np.uint16)) + 1


@dataclass(frozen=True, slots=True)
class Form:
    """One way of scoring.

    Attributes:
        group: forms of a group are compared with each other: `windows`, `windows + patches`, `contextual`.
        name: within the group; the first of a group is what the others are compared with.
        settings: of the method.
    """

    group: str
    name: str
    settings: ModelSettings


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What one form makes of the images of a set, good ones first.

    Attributes:
        image: (n,) S (Eq. 12).
        local: (n,) max S_L.
        pixels: (n, 2, V) good and defective pixels a value of the map; None where no mask is known.
        kept: (n, 2) part of the normal and of the abnormal prompts that the adaptation kept.
        emptied: (n,) whether a side would have lost all its prompts.
    """

    image: Values
    local: Values
    pixels: Counts | None
    kept: Values
    emptied: NDArray[np.bool_]


def aligner_forms(settings: ModelSettings) -> list[Form]:
    """All aligners on the paper's path and with the patch level, and the patch level without windows."""
    levels = {PAPER_PATH: "windows", WITH_PATCHES: "both"}
    return [
        *(
            Form(group, name, _changed(settings, aligner=name, local=local))
            for group, local in levels.items()
            for name in get_args(AlignerName)
        ),
        Form(WITH_PATCHES, NO_WINDOWS, _changed(settings, local="patches")),
    ]


def contextual_forms(settings: ModelSettings) -> list[Form]:
    """All ways of choosing prompts, on the map that the product makes by itself."""
    plain = [_changed(settings, local="auto", contextual=form) for form in ("none", "paper")]
    robust = [
        _changed(settings, local="auto", contextual="robust", contextual_quantile=quantile)
        for quantile in _ROBUST_QUANTILES
    ]
    names = ["none", "paper", *(f"robust {quantile:g}" for quantile in _ROBUST_QUANTILES)]
    return [Form(CONTEXTUAL, name, each) for name, each in zip(names, [*plain, *robust], strict=True)]


def judge(
    images: Sequence[LabelledImage], cache: FeatureCache, prompts: Path, compared: Sequence[Form]
) -> dict[Form, Judged]:
    """Score all images by all forms.

    Args:
        images: good ones first; all their features are in the cache.
        cache: of their features, with the backbone that reads the prompts.
        prompts: prompt file of the set.
        compared: the forms.
    """
    recipe = Recipe.load(cache.backbone, prompts, settings=cache.backbone.settings)
    truths = [_truth(image) for image in images]
    has_masks = any(truth is not None and truth.mask.any() for truth in truths)
    found: dict[Form, list[_One]] = {form: [] for form in compared}
    for image, truth in zip(images, truths, strict=True):
        features = cache.read(image)
        for form, one in _by_all(features, recipe, compared, truth if has_masks else None):
            found[form].append(one)
    return {form: _joined(ones, has_masks) for form, ones in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _One:
    """One image by one form."""

    image: float
    local: float
    pixels: Counts
    kept: tuple[float, float]
    emptied: bool


def _by_all(
    features: ImageFeatures, recipe: Recipe, compared: Sequence[Form], truth: Truth | None
) -> Iterator[tuple[Form, _One]]:
    for form in compared:
        scores = score(features, recipe, form.settings)
        yield (
            form,
            _One(
                image=scores.image.item(),
                local=scores.s_local_max.item(),
                pixels=_counted(scores, features, truth),
                kept=_kept(scores),
                emptied=bool((scores.adapted.normal_was_empty | scores.adapted.abnormal_was_empty).item()),
            ),
        )


def _counted(scores: Scores, features: ImageFeatures, truth: Truth | None) -> Counts:
    """(2, V) pixels of an image, none where its mask is not known."""
    if truth is None:
        return np.zeros((2, _MAP_VALUES), np.int32)
    grid = scores.patch_map.view(features.grid.rows, features.grid.cols).numpy()
    values = at_size(grid, truth.size).clip(0, 1).astype(np.float16).view(np.uint16)
    sides = (values[~truth.mask], values[truth.mask])
    return np.stack([np.bincount(side, minlength=_MAP_VALUES) for side in sides]).astype(np.int32)


def _kept(scores: Scores) -> tuple[float, float]:
    adapted = scores.adapted
    normal, abnormal = (kept.float().mean().item() for kept in (adapted.kept_normal, adapted.kept_abnormal))
    return normal, abnormal


def _truth(image: LabelledImage) -> Truth | None:
    if not image.abnormal:
        return Truth.all_good(*read_image(image.path).shape[:2])
    mask = image.read_mask()
    return None if mask is None else Truth.of(mask)


def _joined(ones: Sequence[_One], has_masks: bool) -> Judged:
    return Judged(
        image=np.array([one.image for one in ones]),
        local=np.array([one.local for one in ones]),
        pixels=np.stack([one.pixels for one in ones]) if has_masks else None,
        kept=np.array([one.kept for one in ones]),
        emptied=np.array([one.emptied for one in ones]),
    )


def _changed(settings: ModelSettings, **changes: object) -> ModelSettings:
    return ModelSettings.model_validate(settings.model_dump() | changes)
