"""Would other prompts have changed verdicts: the same pictures judged with both, all else equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alfa.backbone import Backbone
from alfa.cli.image_batches import image_batches
from alfa.inspector import Inspection, judge
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from edge.messages import Result
from edge.settings import LineSettings


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsed:
    """One picture judged with the running prompts and with the new ones.

    Attributes:
        picture: its file.
        before: with the running prompts.
        after: with the new ones, under the running threshold and bank.
    """

    picture: Path
    before: Inspection
    after: Inspection

    @property
    def results(self) -> tuple[Result, Result]:
        """The verdict before and after."""
        return _result(self.before), _result(self.after)


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """All pictures of a rehearsal.

    Attributes:
        threshold: of the image score, for both.
        calibrated: whether it was made from good parts, with the running prompts.
        parts: one a picture, in the order given.
    """

    threshold: float
    calibrated: bool
    parts: Sequence[Rehearsed]

    @property
    def changed(self) -> list[Rehearsed]:
        """Those whose verdict would have been another one."""
        return [part for part in self.parts if part.results[0] is not part.results[1]]


def rehearse(
    settings: ModelSettings, line: LineSettings, running: Path, new: Path, pictures: list[Path]
) -> Rehearsal:
    """Judge pictures twice; the model sees each once.

    Args:
        settings: of the model.
        line: whose bank and calibration are used.
        running: prompt file that the line is judged with.
        new: prompt file that is to be tried.
        pictures: of good parts.

    Raises:
        BadInput: a file is damaged or does not fit the model.
    """
    backbone = Backbone.load(settings)
    before = Recipe.load(backbone, running, line.bank, line.calibration, settings=settings)
    after = before.with_prompts(backbone, new)
    parts = [
        Rehearsed(path, *inspections)
        for paths, images in image_batches(pictures, "judging with both")
        for path, inspections in zip(paths, _both(backbone, settings, (before, after), images), strict=True)
    ]
    return Rehearsal(before.score_threshold, before.calibration is not None, parts)


def _both(
    backbone: Backbone,
    settings: ModelSettings,
    recipes: tuple[Recipe, Recipe],
    images: Sequence[NDArray[np.uint8]],
) -> list[tuple[Inspection, Inspection]]:
    judged: dict[int, tuple[Inspection, Inspection]] = {}
    for positions, features in backbone.encode(images):
        sizes = [images[position].shape[:2] for position in positions]
        before, after = (judge(features, recipe, settings, sizes) for recipe in recipes)
        judged.update(zip(positions, zip(before, after, strict=True), strict=True))
    return [judged[position] for position in range(len(images))]


def _result(inspection: Inspection) -> Result:
    if not inspection.finite:
        return Result.FAULT
    return Result.NG if inspection.anomalous else Result.OK
