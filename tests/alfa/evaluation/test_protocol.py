"""Judging and measuring a class with made-up ways of scoring, whose figures are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from alfa.backbone import Backbone
from alfa.errors import BadInput, Fault
from alfa.evaluation.datasets import Dataset, LabelledImage, read_dataset
from alfa.evaluation.metrics import ImageMetrics, PixelMetrics
from alfa.evaluation.protocol import (
    GLOBAL,
    LOCAL,
    WHOLE,
    ClassResult,
    Figures,
    Row,
    judge_dataset,
    mean_over_classes,
    measure,
)
from alfa.evaluation.store import ResultStore
from alfa.evaluation.variants import Read, Variant
from alfa.features import ImageFeatures
from alfa.images import RgbImage, read_image


@dataclass(frozen=True, slots=True)
class PlainScores:
    """Scores made up for a test."""

    image: Tensor
    s_global: Tensor
    s_local_max: Tensor
    patch_map: Tensor


def _variant(
    name: str, score: Callable[[ImageFeatures], Tensor], identity: str = "1", row: str | None = None
) -> Variant:
    """S and S_G as told, max S_L its negative, and S everywhere on the map."""

    def scores(features: ImageFeatures) -> PlainScores:
        image = score(features)
        return PlainScores(image, image, -image, image[:, None].expand(-1, features.grid.patches))

    return Variant(name, scores, identity, row or name)


def _chance(features: ImageFeatures) -> Tensor:
    return torch.full((len(features.image),), 0.5)


def _unlike_good(backbone: Backbone, dataset: Dataset) -> Callable[[ImageFeatures], Tensor]:
    """Distance to one good image: a scoring that is right about the plates with a bright spot."""
    ((_, good),) = backbone.encode([read_image(dataset.train[0])])
    return lambda features: 1 - features.image @ good.image[0]


def _measure(dataset: Dataset, variants: Sequence[Variant], store: ResultStore) -> ClassResult:
    return measure(dataset, variants, store, lambda images, _: images)


def _row(result: ClassResult, name: str, part: str = WHOLE) -> Row:
    return next(row for row in result.rows if (row.name, row.part) == (name, part))


@pytest.fixture
def variants(tiny_backbone: Backbone, dataset: Dataset) -> list[Variant]:
    return [_variant("right", _unlike_good(tiny_backbone, dataset)), _variant("chance", _chance)]


@pytest.fixture
def result(
    dataset: Dataset, tiny_backbone: Backbone, variants: list[Variant], store: ResultStore, read: Read
) -> ClassResult:
    judge_dataset(dataset, tiny_backbone, variants, store, read)
    return _measure(dataset, variants, store)


def test_a_scoring_that_knows_is_told_from_one_that_does_not(result: ClassResult) -> None:
    """All right against chance, over images; and the trivial baseline is right about bright spots."""
    assert _row(result, "right").mean("image_auroc") == 1
    assert _row(result, "chance").mean("image_auroc") == 0.5
    assert _row(result, "mean brightness").mean("image_auroc") == 1
    assert _row(result, "mean brightness").mean("pixel_auroc") == pytest.approx(1, abs=0.01)


def test_each_half_of_the_score_has_its_own_row(result: ClassResult) -> None:
    """S_G is the score itself here, max S_L its negative; neither has a map."""
    assert _row(result, "right", GLOBAL).mean("image_auroc") == 1
    assert _row(result, "right", LOCAL).mean("image_auroc") == 0
    assert _row(result, "right", GLOBAL).mean("pixel_auroc") is None


def test_maps_are_judged_by_pixels(result: ClassResult) -> None:
    """A map that is even within each image finds no place in it, but still ranks the images."""
    even = _row(result, "right").mean("pixel_auroc")
    assert even is not None
    assert 0.5 < even < 1
    assert _row(result, "chance").mean("pixel_auroc") == 0.5


def test_what_is_reported_beside_the_rows(result: ClassResult) -> None:
    """Masks, curves of every variant, and the last variant's scores for the pictures."""
    assert result.masks == 4
    assert set(result.curves) == {"right", "chance"}
    assert result.curves["right"].pro is not None
    assert result.shown.variant == "chance"
    assert [score for _, score in result.shown.scores] == [0.5] * 8
    assert result.shown.map_scale == (0.5, 0.5)


def test_a_set_without_masks_has_no_figures_over_pixels(
    dataset: Dataset, tiny_backbone: Backbone, variants: list[Variant], store: ResultStore, read: Read
) -> None:
    """Good images alone tell nothing about finding the place."""
    bare = replace(dataset, test=tuple(replace(image, mask_path=None) for image in dataset.test))
    judge_dataset(bare, tiny_backbone, variants, store, read)
    result = _measure(bare, variants, store)
    assert result.masks == 0
    assert _row(result, "right").mean("pixel_pro") is None
    assert result.curves["right"].pixel_roc is None
    assert _row(result, "right").mean("image_auroc") == 1


def test_repeats_of_a_row_come_together(
    dataset: Dataset, tiny_backbone: Backbone, store: ResultStore, read: Read
) -> None:
    """A right and a wrong seed: mean 1/2, sample deviation of 1 and 0."""
    right = _unlike_good(tiny_backbone, dataset)
    variants = [
        _variant("seed 0", right, row="2-shot"),
        _variant("seed 1", lambda features: -right(features), row="2-shot"),
    ]
    judge_dataset(dataset, tiny_backbone, variants, store, read)
    row = _row(_measure(dataset, variants, store), "2-shot")
    assert row.mean("image_auroc") == pytest.approx(0.5)
    assert row.std("image_auroc") == pytest.approx(0.5**0.5)


def test_a_run_that_was_cut_off_goes_on(
    dataset: Dataset, tiny_backbone: Backbone, store: ResultStore, read: Read
) -> None:
    """What was judged before the break is not judged again."""
    judged: list[int] = []

    def counted(features: ImageFeatures) -> Tensor:
        judged.append(len(features.image))
        return _chance(features)

    def broken(paths: list[Path], doing: str) -> Iterator[tuple[Sequence[Path], Sequence[RgbImage]]]:
        yield next(iter(read(paths, doing)))
        raise BadInput("disk", "", None, "gone")

    variants = [_variant("counted", counted)]
    with pytest.raises(BadInput, match="gone"):
        judge_dataset(dataset, tiny_backbone, variants, store, broken)
    assert sum(judged) == 2
    judge_dataset(dataset, tiny_backbone, variants, store, read)
    judge_dataset(dataset, tiny_backbone, variants, store, read)
    assert sum(judged) == len(dataset.test)


def test_a_changed_variant_is_not_mixed_in(
    dataset: Dataset, tiny_backbone: Backbone, store: ResultStore, read: Read
) -> None:
    """Same name, other identity."""
    judge_dataset(dataset, tiny_backbone, [_variant("a", _chance)], store, read)
    with pytest.raises(BadInput, match="--restart"):
        judge_dataset(dataset, tiny_backbone, [_variant("a", _chance, identity="2")], store, read)


def test_images_of_several_shapes_keep_their_own_maps(
    plate_set: Path, tiny_backbone: Backbone, store: ResultStore, read: Read
) -> None:
    """One test image lies on its side: its map has the grid turned, and all are measured together."""
    import cv2

    lying = next((plate_set / "test" / "good").iterdir())
    cv2.imwrite(str(lying), np.rot90(read_image(lying)))
    dataset = read_dataset(plate_set)
    variants = [_variant("chance", _chance)]
    judge_dataset(dataset, tiny_backbone, variants, store, read)
    shapes = {store.read(dataset, image).by["chance"].patch_map.shape for image in dataset.test}
    assert shapes == {(4, 3), (3, 4)}
    assert _row(_measure(dataset, variants, store), "chance").mean("pixel_auroc") == 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_fault(
    dataset: Dataset, tiny_backbone: Backbone, store: ResultStore, read: Read, value: float
) -> None:
    """Naming image and variant."""
    variants = [_variant("broken", lambda features: torch.full((len(features.image),), value))]
    with pytest.raises(Fault, match=r"not_finite: .*\.png: broken"):
        judge_dataset(dataset, tiny_backbone, variants, store, read)


# Means over classes


def _class(name: str, *auroc: float, pixel: float | None) -> ClassResult:
    repeats = tuple(
        Figures(
            ImageMetrics(value, value, value), None if pixel is None else PixelMetrics(pixel, pixel, pixel)
        )
        for value in auroc
    )
    image = LabelledImage(Path("0.png"), "good", None)
    dataset = Dataset(name, Path(name), (), (image,))
    rows = (Row("2-shot", WHOLE, repeats),)
    return ClassResult(dataset, 0, rows, {}, None)  # type: ignore[arg-type]


def test_the_mean_over_classes_is_taken_seed_by_seed() -> None:
    """Seeds that err in opposite ways on two classes: the mean does not vary at all."""
    (row,) = mean_over_classes([_class("a", 0.8, 0.6, pixel=0.9), _class("b", 0.6, 0.8, pixel=None)])
    assert row.mean("image_auroc") == pytest.approx(0.7)
    assert row.std("image_auroc") == pytest.approx(0)


def test_a_class_without_masks_counts_for_images_only() -> None:
    """The mean over pixels is that of the classes that have one."""
    (row,) = mean_over_classes([_class("a", 0.8, pixel=0.9), _class("b", 0.6, pixel=None)])
    assert row.mean("pixel_pro") == pytest.approx(0.9)
    assert row.std("pixel_pro") is None
