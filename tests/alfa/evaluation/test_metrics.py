"""Figures over images and pixels: cases counted by hand, and second implementations on random ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from alfa.evaluation.metrics import (
    EVALUATION_SIDE,
    PRO_FPR_LIMIT,
    Map,
    Mask,
    PixelHistogram,
    PixelMetrics,
    Truth,
    at_size,
    evaluation_size,
    image_metrics,
    image_pr,
    image_roc,
)

SIDE = EVALUATION_SIDE
# One cell of a map of 8 x 8 covers this many pixels a side.
CELL = SIDE // 8


def _histogram(masks: Sequence[Mask], maps: Sequence[Map]) -> PixelHistogram:
    histogram = PixelHistogram()
    for mask, each in zip(masks, maps, strict=True):
        histogram.update(each, Truth.of(mask))
    return histogram


def _metrics(masks: Sequence[Mask], maps: Sequence[Map]) -> PixelMetrics:
    metrics = _histogram(masks, maps).metrics()
    assert metrics is not None
    return metrics


def _blocks(cells: NDArray[Any]) -> NDArray[Any]:
    """8 x 8 cells as 256 x 256 pixels, so that no resizing changes a value."""
    return np.kron(cells, np.ones((CELL, CELL), cells.dtype)).astype(cells.dtype)


def _mask(*cells: tuple[int, int]) -> Mask:
    mask = np.zeros((8, 8), bool)
    for cell in cells:
        mask[cell] = True
    return _blocks(mask).astype(bool)


# Images


def test_image_auroc_counts_pairs() -> None:
    """Of 2 x 2 pairs three are in order: 0.75."""
    assert image_metrics([False, False, True, True], [0.1, 0.6, 0.5, 0.9]).auroc == pytest.approx(0.75)


def test_a_tie_counts_half() -> None:
    """Scores that do not differ tell nothing."""
    assert image_metrics([False, True], [0.5, 0.5]).auroc == pytest.approx(0.5)


def test_average_precision_and_f1_of_three_images() -> None:
    """Ranked defective, good, defective: precision 1 at recall 1/2, then 2/3 at 1; F1 2/3, 1/2, 4/5."""
    metrics = image_metrics([True, False, True], [0.9, 0.5, 0.3])
    assert metrics.aupr == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.f1_max == pytest.approx(0.8)


@given(st.lists(st.tuples(st.booleans(), st.integers(-1000, 1000)), min_size=2, max_size=40))
def test_image_figures_depend_on_the_order_only(pairs: list[tuple[bool, int]]) -> None:
    """Any rising function of the scores leaves them as they are; a falling one turns AUROC round."""
    abnormal = [label for label, _ in pairs]
    if all(abnormal) or not any(abnormal):
        return
    scores = [float(score) for _, score in pairs]
    metrics = image_metrics(abnormal, scores)
    risen = image_metrics(abnormal, [score**3 + 7 for score in scores])
    assert (risen.auroc, risen.aupr, risen.f1_max) == pytest.approx(
        (metrics.auroc, metrics.aupr, metrics.f1_max)
    )
    assert image_metrics(abnormal, [-score for score in scores]).auroc == pytest.approx(1 - metrics.auroc)


def test_f1_max_is_never_below_calling_every_image_defective() -> None:
    """Three of four defective and scores turned round: F1 of the lowest threshold, 6/7."""
    assert image_metrics([True, True, True, False], [0.1, 0.2, 0.3, 0.9]).f1_max == pytest.approx(6 / 7)


@pytest.mark.parametrize("abnormal", [[True, True], [False, False]])
def test_images_of_one_kind_have_no_figures(abnormal: list[bool]) -> None:
    """There is nothing to rank."""
    with pytest.raises(ValueError, match="one kind"):
        image_metrics(abnormal, [0.1, 0.2])


def test_a_score_that_is_no_number_is_told() -> None:
    """It must not be ranked anywhere."""
    with pytest.raises(ValueError, match="not finite"):
        image_metrics([True, False], [float("nan"), 0.2])


def test_curves_of_images_run_between_their_corners() -> None:
    """ROC from (0, 0) to (1, 1); precision-recall from recall 0 to recall 1."""
    roc = image_roc([True, False, True], [0.9, 0.5, 0.3])
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    pr = image_pr([True, False, True], [0.9, 0.5, 0.3])
    assert (pr.x[0], pr.x[-1]) == (0, 1)


# Masks at the size of evaluation


@pytest.mark.parametrize(
    ("given_size", "evaluated"),
    [((512, 256), (256, 128)), ((100, 260), (98, 256)), ((20, 40), (128, 256)), ((5000, 3), (256, 1))],
)
def test_the_longest_side_comes_to_256(given_size: tuple[int, int], evaluated: tuple[int, int]) -> None:
    """Whatever the image's size; the aspect ratio stays."""
    assert evaluation_size(*given_size) == evaluated
    assert Truth.of(np.zeros(given_size, bool)).size == evaluated


def test_a_large_mask_keeps_its_place_and_share() -> None:
    """The upper left quarter of 1024 pixels is the upper left quarter of 256."""
    mask = np.zeros((1024, 1024), bool)
    mask[:512, :512] = True
    expected = np.zeros((256, 256), bool)
    expected[:128, :128] = True
    assert np.array_equal(Truth.of(mask).mask, expected)


def test_a_small_mask_is_enlarged() -> None:
    """One of 4 x 4 pixels becomes 64 x 64."""
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True
    truth = Truth.of(mask)
    assert truth.mask.sum() == 64 * 64
    assert truth.mask[64:128, 128:192].all()


def test_a_scratch_thinner_than_a_pixel_is_not_lost() -> None:
    """Two pixels of 2560 wide, beside a large defect: still a region of its own, one cell wide."""
    mask = np.zeros((2560, 2560), bool)
    mask[:800, :800] = True
    mask[1000:2000, 1802:1804] = True
    truth = Truth.of(mask)
    assert truth.mask[100:200].sum() == 100
    assert truth.mask[100:200, 180].all()
    assert cv2.connectedComponents(truth.mask.view(np.uint8))[0] - 1 == 2


@given(st.lists(st.tuples(st.integers(0, 699), st.integers(0, 899)), min_size=1, max_size=6))
def test_no_defect_ever_vanishes(points: list[tuple[int, int]]) -> None:
    """Single pixels of a picture of 700 x 900 all stay marked where they are."""
    mask = np.zeros((700, 900), bool)
    for point in points:
        mask[point] = True
    truth = Truth.of(mask)
    height, width = truth.size
    assert all(truth.mask[row * height // 700, col * width // 900] for row, col in points)


def test_each_region_weighs_one() -> None:
    """Two regions of other sizes, and one that touches only at a corner and so belongs to its neighbour."""
    weights = Truth.of(_mask((0, 0), (1, 1), (5, 5), (5, 6), (5, 7))).weights
    assert weights.sum() == pytest.approx(2)
    assert sorted(set(weights)) == pytest.approx([1 / (3 * CELL**2), 1 / (2 * CELL**2)])


def test_a_good_image_has_no_region() -> None:
    """Nothing to weigh."""
    assert Truth.of(np.zeros((30, 30), bool)).weights.size == 0


# Pixels


def test_maps_are_enlarged_with_patch_centres_in_place() -> None:
    """Two patches a row: the outer quarters keep their values, the middle is half way."""
    enlarged = at_size(np.array([[0.0, 1.0]]), (1, 8))
    assert enlarged[0, :2] == pytest.approx([0, 0])
    assert enlarged[0, 6:] == pytest.approx([1, 1])
    assert enlarged[0, 3] + enlarged[0, 4] == pytest.approx(1)


def test_pixels_of_all_images_are_ranked_together() -> None:
    """A map that is right within each image but not across them loses pairs: three of four are in order."""
    half = np.zeros((SIDE, SIDE), bool)
    half[:, : SIDE // 2] = True
    maps = [np.where(half, high, low) for high, low in ((0.2, 0.1), (0.9, 0.5))]
    assert _metrics([half, half], maps).auroc == pytest.approx(0.75)


def test_f1_of_pixels_by_hand() -> None:
    """A defect of 2 cells, one found first, then a good one, then the other: best 2 * 2 / (2 * 2 + 1)."""
    cells = np.zeros((8, 8), np.float32)
    cells[0, 0], cells[3, 3], cells[0, 1] = 0.9, 0.8, 0.7
    assert _metrics([_mask((0, 0), (0, 1))], [_blocks(cells)]).f1_max == pytest.approx(4 / 5)


def test_pro_weighs_regions_not_pixels() -> None:
    """A region of 1 cell found and one of 3 missed, no false alarm: overlap 1/2 on all rates up to 0.3.

    What is missed ties with all good pixels, so that the curve rises straight from 1/2 to 1 at rate 1:
    its mean up to 0.3 is 1/2 + 0.15 * 1/2.
    """
    cells = np.zeros((8, 8), np.float32)
    cells[0, 0] = 1
    mask = _mask((0, 0), (5, 5), (5, 6), (5, 7))
    assert _metrics([mask], [_blocks(cells)]).pro == pytest.approx(0.5 + 0.15 * 0.5)


def test_a_rise_at_the_limit_itself_counts_for_nothing() -> None:
    """One of two regions found at rate 0, 18 of 60 good cells next, then the other region: 1/2 up to 0.3."""
    cells = np.zeros((8, 8), np.float32)
    cells.flat[:18] = 0.8
    cells[7, 7], cells[7, 5] = 0.9, 0.7
    # Two more defective cells, lowest of all, make 60 good ones; they belong to the second region.
    cells[6, 5], cells[5, 5] = -1, -1
    assert _metrics([_mask((7, 7), (7, 5), (6, 5), (5, 5))], [_blocks(cells)]).pro == pytest.approx(0.5)


def test_perfect_maps_reach_one_and_turned_ones_nothing() -> None:
    """Both ends of the scale."""
    mask = _mask((2, 2), (6, 6))
    perfect = _metrics([mask], [mask.astype(np.float32)])
    assert (perfect.auroc, perfect.pro, perfect.f1_max) == pytest.approx((1, 1, 1))
    turned = _metrics([mask], [-mask.astype(np.float32)])
    assert (turned.auroc, turned.pro) == pytest.approx((0, 0))


def test_without_a_defective_pixel_there_are_no_figures() -> None:
    """A set without masks has no pixel metrics, not bad ones."""
    assert _histogram([np.zeros((40, 40), bool)], [np.ones((4, 4))]).metrics() is None
    assert PixelHistogram().metrics() is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_a_map_that_float16_cannot_hold_is_told(value: float) -> None:
    """It must not be counted as the lowest or highest value there is."""
    with pytest.raises(ValueError, match="not finite"):
        PixelHistogram().update(np.full((4, 4), value), Truth.of(np.zeros((40, 40), bool)))


def test_negative_values_and_both_zeros_are_in_order() -> None:
    """-1 < -0 = 0 < 1: the good pixels at -0 tie with defective ones at 0, which counts half."""
    cells = np.full((8, 8), -1, np.float32)
    cells[:4] = -0.0
    mask = np.zeros((8, 8), bool)
    mask[0, :4] = True
    cells[0, :4] = 0.0
    good_above = 28 / 60
    expected = 1 - good_above / 2
    assert _metrics([_blocks(mask).astype(bool)], [_blocks(cells)]).auroc == pytest.approx(expected)


# Second implementations


def _images(seed: int) -> tuple[list[Mask], list[NDArray[np.float32]]]:
    """A few images of 256 pixels with blobs of several sizes, and float16 maps with many ties."""
    generator = np.random.default_rng(seed)
    masks, maps = [], []
    for _ in range(int(generator.integers(1, 4))):
        cells = generator.random((8, 8)) < generator.choice([0.0, 0.1, 0.4])
        levels = generator.integers(0, generator.choice([3, 40]), (8, 8)) / 40
        masks.append(_blocks(cells).astype(bool))
        maps.append(_blocks((levels + 0.4 * cells).astype(np.float16).astype(np.float32)))
    masks[0][:CELL, :CELL] = True
    masks[-1][-CELL:, -CELL:] = False
    return masks, maps


def _pro_by_thresholds(masks: list[Mask], maps: list[NDArray[np.float32]]) -> float:
    """As PRO is defined: at every threshold the mean overlap of all regions, and the false-positive rate."""
    regions = []
    for mask, each in zip(masks, maps, strict=True):
        count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        regions += [each[labels == number] for number in range(1, count)]
    good = np.concatenate([each[~mask] for mask, each in zip(masks, maps, strict=True)])
    thresholds = np.unique(np.concatenate([good, *regions]))[::-1]
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        overlap = float(np.mean([(region >= threshold).mean() for region in regions]))
        points.append((float((good >= threshold).mean()), overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= PRO_FPR_LIMIT or x1 == x0:
            continue
        end = min(x1, PRO_FPR_LIMIT)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / PRO_FPR_LIMIT


@given(st.integers(0, 2**32 - 1))
@example(255)
def test_pro_equals_its_definition_written_out(seed: int) -> None:
    """Threshold by threshold and region by region, on random cases."""
    masks, maps = _images(seed)
    assert _metrics(masks, maps).pro == pytest.approx(_pro_by_thresholds(masks, maps), abs=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_pixel_auroc_and_f1_equal_those_over_all_pixels_at_once(seed: int) -> None:
    """scikit-learn with every pixel in memory, and F1 counted threshold by threshold."""
    masks, maps = _images(seed)
    truth = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([each.ravel() for each in maps])
    found = ((values >= threshold, truth) for threshold in np.unique(values))
    f1 = max(2 * (hit & true).sum() / (hit.sum() + true.sum()) for hit, true in found)
    metrics = _metrics(masks, maps)
    assert metrics.auroc == pytest.approx(roc_auc_score(truth, values), abs=1e-9)
    assert metrics.f1_max == pytest.approx(f1, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_pro_equals_that_of_adeval(seed: int) -> None:
    """The MVTec benchmark's own code, as the package `adeval` carries it (pip install --no-deps adeval).

    It spreads good pixels of one value over as many rates, so that the maps here hardly have such ties.
    """
    adeval = pytest.importorskip("adeval.au_pro")
    reference: Callable[..., tuple[float, object]] = adeval.calculate_au_pro
    generator = np.random.default_rng(seed)
    masks, maps = _images(seed)
    maps = [
        (each + generator.normal(0, 0.5, each.shape)).astype(np.float16).astype(np.float32) for each in maps
    ]
    theirs, _ = reference([mask.astype(int) for mask in masks], maps, PRO_FPR_LIMIT, 10_000)
    assert _metrics(masks, maps).pro == pytest.approx(theirs, abs=1e-3)
