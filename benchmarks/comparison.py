"""One data set: every image through the backbone once, every method on the same features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alfa.backbone import Backbone
from alfa.cli.image_batches import image_batches
from alfa.evaluation.baselines import BASELINES
from alfa.evaluation.datasets import Dataset, LabelledImage
from alfa.evaluation.metrics import PixelHistogram, Truth, image_metrics
from alfa.files import file_hash
from alfa.images import RgbImage
from alfa.windows import Grid
from benchmarks.contenders import Contender, Method, Scored, TaughtImage

Plane = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared.

    Attributes:
        shots: numbers of taught images; 0 for zero-shot.
        seeds: how many choices of taught images.
    """

    shots: tuple[int, ...]
    seeds: int

    @property
    def most_shots(self) -> int:
        """The longest choice of taught images."""
        return max(self.shots)

    def taught(self, train: Sequence[Path], seed: int) -> list[Path]:
        """The images of a seed, in order: k shots are the first k of them, so that more shots know more."""
        order = np.random.default_rng(seed).permutation(len(train))
        return [train[index] for index in order[: self.most_shots]]


@dataclass(frozen=True, slots=True)
class Figures:
    """How one method did on one set with one choice of taught images; all in [0, 1].

    Attributes:
        method: name.
        shots: how many good images it was taught.
        seed: of their choice.
        values: metric -> figure; no pixel metrics where no mask is known.
    """

    method: str
    shots: int
    seed: int
    values: dict[str, float]


@dataclass(slots=True, eq=False)
class _Run:
    """A method at work; scores are kept, maps are only counted."""

    name: str
    shots: int
    seed: int
    scores: list[float] = field(default_factory=list)
    pixels: PixelHistogram = field(default_factory=PixelHistogram)

    def add(self, score: float, patch_map: Plane, truth: Truth | None) -> None:
        self.scores.append(score)
        if truth is not None:
            self.pixels.update(patch_map, truth)

    def figures(self, abnormal: Sequence[bool]) -> Figures:
        image = image_metrics(abnormal, self.scores)
        values = {"image_auroc": image.auroc, "image_aupr": image.aupr, "image_f1_max": image.f1_max}
        pixel = self.pixels.metrics()
        if pixel is not None:
            values |= {"pixel_auroc": pixel.auroc, "pro": pixel.pro, "pixel_f1_max": pixel.f1_max}
        return Figures(self.name, self.shots, self.seed, values)


@torch.inference_mode()
def compare(dataset: Dataset, backbone: Backbone, rows: Sequence[Contender], plan: Plan) -> list[Figures]:
    """Judge all test images of a set with every method, number of shots and seed.

    Args:
        dataset: one class, with at least `plan.most_shots` training images.
        backbone: the model of all methods.
        rows: the methods.
        plan: shots and seeds.
    """
    choices = [plan.taught(dataset.train, seed) for seed in range(plan.seeds)]
    known = _encode_taught(dataset.name, backbone, choices)
    learnt = [
        (_Run(row.name, shots, seed), method)
        for row in rows
        for shots in plan.shots
        for seed, method in _variants(row, shots, choices, known)
    ]
    trivial = [(_Run(name, 0, 0), baseline) for name, baseline in BASELINES.items()]
    images = {image.path: image for image in dataset.test}
    for paths, pictures in image_batches(list(images), f"{dataset.name}: judging"):
        truths = [_truth(images[path]) for path in paths]
        _judge(backbone, pictures, truths, learnt)
        _judge_by_pixels(pictures, truths, trivial)
    abnormal = [image.abnormal for image in dataset.test]
    return [run.figures(abnormal) for run, _ in [*learnt, *trivial]]


def _encode_taught(
    name: str, backbone: Backbone, choices: Sequence[Sequence[Path]]
) -> dict[Path, TaughtImage]:
    """Every image that any choice takes, once."""
    paths = sorted({path for choice in choices for path in choice})
    known: dict[Path, TaughtImage] = {}
    for batch, pictures in image_batches(paths, f"{name}: teaching"):
        for positions, features in backbone.encode(pictures):
            for row, position in enumerate(positions):
                path = batch[position]
                known[path] = TaughtImage(features.select([row]), file_hash(path))
    return known


def _variants(
    row: Contender, shots: int, choices: Sequence[Sequence[Path]], known: Mapping[Path, TaughtImage]
) -> Iterator[tuple[int, Method]]:
    """(seed, method) of one row at one number of shots; none where it cannot do without good images."""
    if shots:
        for seed, choice in enumerate(choices):
            yield seed, row.teach([known[path] for path in choice[:shots]], seed)
    elif row.untaught is not None:
        yield 0, row.untaught


def _truth(image: LabelledImage) -> Truth | None:
    mask = image.read_mask()
    return None if mask is None else Truth.of(mask)


def _judge(
    backbone: Backbone,
    pictures: Sequence[RgbImage],
    truths: Sequence[Truth | None],
    learnt: Sequence[tuple[_Run, Method]],
) -> None:
    """Encode a batch once and let every method score it.

    Pictures of other shapes come back from the backbone in batches of their own; scores are put back into the
    order of the pictures before they are kept.
    """
    encoded = backbone.encode(pictures)
    for run, method in learnt:
        answers: dict[int, tuple[float, Plane]] = {}
        for positions, features in encoded:
            answers.update(zip(positions, _on_host(method(features), features.grid), strict=True))
        for position, truth in enumerate(truths):
            run.add(*answers[position], truth)


def _on_host(scored: Scored, grid: Grid) -> list[tuple[float, Plane]]:
    """(score, (rows, cols) map) of each image."""
    maps = scored.patch_map.view(-1, grid.rows, grid.cols).float().cpu().numpy()
    return list(zip(scored.image.tolist(), maps, strict=True))


def _judge_by_pixels(
    pictures: Sequence[RgbImage],
    truths: Sequence[Truth | None],
    trivial: Sequence[tuple[_Run, Callable[[RgbImage], Plane]]],
) -> None:
    """What needs no model; the score of an image is the mean of its map."""
    for run, baseline in trivial:
        for picture, truth in zip(pictures, truths, strict=True):
            plane = baseline(picture)
            run.add(float(plane.mean()), plane, truth)
