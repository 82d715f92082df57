"""Contenders whose figures are known beforehand, through the tiny model and the product's own evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from alfa.backbone import Backbone
from alfa.cli.image_batches import image_batches, tracked
from alfa.evaluation.datasets import Dataset, read_dataset
from alfa.evaluation.protocol import ClassResult, judge_dataset, measure
from alfa.evaluation.store import FILE_NAME, ResultStore
from alfa.evaluation.variants import ShotBanks, UndividedScores, Variant
from alfa.features import ImageFeatures
from alfa.files import file_hash
from alfa.images import read_image
from benchmarks.quality.contenders import Contender, Method, TaughtImage
from benchmarks.quality.variants import shot_variants, taught_images


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Good images stand upright, defective ones lie, the defect in the left half; those to teach differ."""
    directory = tmp_path_factory.mktemp("data") / "plate"
    upright, lying = np.full((96, 48, 3), 90, np.uint8), np.full((48, 96, 3), 160, np.uint8)
    mask = np.zeros((48, 96), np.uint8)
    mask[:, :48] = 255
    rng = np.random.default_rng(0)
    for number in range(4):
        pictures = {
            "train/good": rng.integers(0, 256, upright.shape, np.uint8),
            "test/good": upright,
            "test/spot": lying,
            "ground_truth/spot": mask,
        }
        for folder, picture in pictures.items():
            (directory / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(directory / folder / f"{number:03}.png"), picture)
    return read_dataset(directory)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    """An empty one."""
    with closing(ResultStore(tmp_path / FILE_NAME)) as opened:
        yield opened


def _by_shape(features: ImageFeatures) -> UndividedScores:
    """Says that what lies is defective, in its left half."""
    grid, images = features.grid, len(features.image)
    lies = float(grid.cols > grid.rows)
    plane = torch.zeros(images, grid.rows, grid.cols)
    plane[:, :, : grid.cols // 2] = lies
    return UndividedScores(torch.full((images,), lies), plane.flatten(1))


def _teach_nothing(_images: Sequence[TaughtImage], _seed: int) -> Method:
    return _by_shape


def _variants(
    dataset: Dataset, backbone: Backbone, rows: Sequence[Contender], shots: Sequence[int], seeds: int = 1
) -> list[Variant]:
    choice = ShotBanks(backbone, dataset, shots, seeds)
    known = taught_images(dataset, backbone, choice, image_batches)
    return shot_variants(rows, shots, choice, known, "0" * 16)


def _judged(
    dataset: Dataset, backbone: Backbone, variants: Sequence[Variant], store: ResultStore
) -> ClassResult:
    judge_dataset(dataset, backbone, variants, store, image_batches)
    return measure(dataset, variants, store, tracked)


def test_a_peer_is_measured_as_any_variant(
    dataset: Dataset, tiny_backbone: Backbone, store: ResultStore
) -> None:
    """Images of two shapes are encoded apart; a method that knows them by shape is right about all."""
    variants = _variants(dataset, tiny_backbone, [Contender("shape", _by_shape, _teach_nothing)], (0,))
    row = _judged(dataset, tiny_backbone, variants, store).rows[0]
    assert row.name == "shape, zero-shot"
    assert row.mean("image_auroc") == 1
    pixel_auroc = row.mean("pixel_auroc")
    assert pixel_auroc is not None
    assert pixel_auroc > 0.95


def test_the_features_that_methods_see_are_the_same(
    dataset: Dataset, tiny_backbone: Backbone, store: ResultStore
) -> None:
    """Not features that are equal: an image goes through the backbone once."""
    seen: dict[str, list[int]] = {"first": [], "second": []}

    def watching(name: str) -> Method:
        def method(features: ImageFeatures) -> UndividedScores:
            seen[name].append(id(features))
            return _by_shape(features)

        return method

    rows = [Contender(name, watching(name), _teach_nothing) for name in seen]
    _judged(dataset, tiny_backbone, _variants(dataset, tiny_backbone, rows, (0,)), store)
    assert seen["first"] == seen["second"] != []


def test_every_shot_and_seed_is_taught_its_own_images(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """Two seeds at one and three shots; a seed's single image is the first of its three."""
    taught: dict[tuple[int, int], list[str]] = {}

    def teach(images: Sequence[TaughtImage], seed: int) -> Method:
        taught[len(images), seed] = [image.source for image in images]
        return _by_shape

    variants = _variants(dataset, tiny_backbone, [Contender("shape", None, teach)], (0, 1, 3), seeds=2)
    assert [variant.name for variant in variants] == [
        "shape, 1-shot seed 0",
        "shape, 1-shot seed 1",
        "shape, 3-shot seed 0",
        "shape, 3-shot seed 1",
    ]
    for seed in range(2):
        assert taught[3, seed][:1] == taught[1, seed]
        assert len(set(taught[3, seed])) == 3


def test_what_is_taught_is_the_image_that_the_source_names(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """Each training image's own features stand under its own path and hash."""
    choice = ShotBanks(tiny_backbone, dataset, (4,), 1)
    known = taught_images(dataset, tiny_backbone, choice, image_batches)
    assert set(known) == set(dataset.train)
    for path, image in known.items():
        [(_, features)] = tiny_backbone.encode([read_image(path)])
        assert image.source == file_hash(path)
        assert torch.allclose(image.features.patches, features.patches, atol=1e-5)


def test_seeds_of_a_contender_are_one_row(
    dataset: Dataset, tiny_backbone: Backbone, store: ResultStore
) -> None:
    """Three seeds, three repeats, and a deviation of none where all are right."""
    rows = [Contender("shape", None, _teach_nothing)]
    row = _judged(dataset, tiny_backbone, _variants(dataset, tiny_backbone, rows, (2,), 3), store).rows[0]
    assert (row.name, len(row.repeats), row.std("image_auroc")) == ("shape, 2-shot", 3, 0)


def test_zero_shot_is_left_out_where_it_is_not_asked_for(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """With one shot alone, a contender that could do without has its taught row only."""
    variants = _variants(dataset, tiny_backbone, [Contender("shape", _by_shape, _teach_nothing)], (1,))
    assert [variant.row for variant in variants] == ["shape, 1-shot"]


def test_contenders_and_choices_differ_in_identity(dataset: Dataset, tiny_backbone: Backbone) -> None:
    """Stored results of one are never taken for those of another."""
    rows = [Contender(name, _by_shape, _teach_nothing) for name in ("first", "second")]
    variants = _variants(dataset, tiny_backbone, rows, (0, 1, 2), seeds=2)
    assert len({variant.identity for variant in variants}) == len(variants) == 2 * 5
