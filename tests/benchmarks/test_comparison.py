"""A whole set through the tiny model, judged by methods whose figures are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from alfa.backbone import Backbone, ImageFeatures
from alfa.evaluation.baselines import BASELINES
from alfa.evaluation.datasets import Dataset, read_dataset
from benchmarks.comparison import Plan, compare
from benchmarks.contenders import Contender, Method, TaughtImage
from benchmarks.peers.scores import PeerScores


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Good images stand upright, defective ones lie; the defect is the left half of each."""
    directory = tmp_path_factory.mktemp("data") / "plate"
    upright, lying = np.full((96, 48, 3), 90, np.uint8), np.full((48, 96, 3), 160, np.uint8)
    mask = np.zeros((48, 96), np.uint8)
    mask[:, :48] = 255
    for number in range(4):
        pictures = {
            "train/good": upright + np.uint8(number),
            "test/good": upright,
            "test/spot": lying,
            "ground_truth/spot": mask,
        }
        for folder, picture in pictures.items():
            (directory / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(directory / folder / f"{number:03}.png"), picture)
    return read_dataset(directory)


def _left_half(features: ImageFeatures) -> PeerScores:
    """Says that what lies is defective, in its left half."""
    grid, images = features.grid, len(features.image)
    lies = float(grid.cols > grid.rows)
    plane = torch.zeros(images, grid.rows, grid.cols)
    plane[:, :, : grid.cols // 2] = lies
    return PeerScores(torch.full((images,), lies), plane.flatten(1))


def _refuses(_images: Sequence[TaughtImage], _seed: int) -> Method:
    raise AssertionError("not to be taught")


def test_answers_go_to_the_images_they_belong_to(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """Images of two shapes are encoded apart; a method that knows them by shape is right about all."""
    rows = [Contender("shape", _left_half, _refuses)]
    [figures, *_] = compare(dataset, tiny_backbone, rows, Plan((0,), seeds=1))
    assert (figures.method, figures.shots) == ("shape", 0)
    assert figures.values["image_auroc"] == 1
    assert figures.values["pixel_auroc"] > 0.95


def test_trivial_baselines_are_always_there(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """Lying plates are brighter, so brightness alone is right about every image."""
    figures = {each.method: each for each in compare(dataset, tiny_backbone, [], Plan((0,), seeds=1))}
    assert set(figures) == set(BASELINES)
    assert figures["mean brightness"].values["image_auroc"] == 1


def test_every_shot_and_seed_is_taught_its_own_images(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """Two seeds at one and three shots; a seed's single image is among its three."""
    taught: dict[tuple[int, int], list[str]] = {}

    def teach(images: Sequence[TaughtImage], seed: int) -> Method:
        taught[len(images), seed] = [image.source for image in images]
        return _left_half

    rows = [Contender("shape", None, teach)]
    found = compare(dataset, tiny_backbone, rows, Plan((0, 1, 3), seeds=2))
    assert [(each.shots, each.seed) for each in found if each.method == "shape"] == [
        (1, 0),
        (1, 1),
        (3, 0),
        (3, 1),
    ]
    for seed in range(2):
        assert taught[3, seed][:1] == taught[1, seed]
        assert len(set(taught[3, seed])) == 3


def test_an_image_goes_through_the_backbone_once(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """Two methods see the very same features, not features that are equal."""
    seen: dict[str, list[int]] = {"first": [], "second": []}

    def watching(name: str) -> Method:
        def method(features: ImageFeatures) -> PeerScores:
            seen[name].append(id(features))
            return _left_half(features)

        return method

    compare(
        dataset,
        tiny_backbone,
        [Contender(name, watching(name), _refuses) for name in seen],
        Plan((0,), seeds=1),
    )
    assert seen["first"] == seen["second"]


def test_another_seed_chooses_other_images() -> None:
    """Of a hundred images, two seeds do not begin alike."""
    train = [Path(f"{number}.png") for number in range(100)]
    plan = Plan((0, 4), seeds=2)
    assert plan.taught(train, 0) != plan.taught(train, 1)
    assert plan.taught(train, 0) == plan.taught(train, 0)
