"""Means and deviations by hand."""

from __future__ import annotations

import pytest

from benchmarks.comparison import Figures
from benchmarks.summary import Row, Spread, over_seeds, over_sets


def _row(name: str, *values: float) -> Row:
    return Row("ALFA", 4, {name: Spread.over(values)})


def test_the_deviation_is_that_of_a_sample() -> None:
    """0.8 and 0.9: mean 0.85, standard deviation 0.05 times the root of 2."""
    spread = Spread.over([0.8, 0.9])
    assert spread.mean == pytest.approx(0.85)
    assert spread.std == pytest.approx(0.05 * 2**0.5)


def test_one_seed_has_no_deviation() -> None:
    """Zero-shot there is nothing to vary."""
    assert Spread.over([0.8]).std == 0


def test_seeds_of_one_method_and_number_of_shots_go_together() -> None:
    """Two seeds of ALFA at one shot are one row; another number of shots is another."""
    figures = [
        Figures("ALFA", 1, 0, {"image_auroc": 0.7}),
        Figures("ALFA", 1, 1, {"image_auroc": 0.9}),
        Figures("ALFA", 4, 0, {"image_auroc": 1.0}),
    ]
    rows = over_seeds(figures)
    assert [(row.method, row.shots) for row in rows] == [("ALFA", 1), ("ALFA", 4)]
    assert rows[0].metrics["image_auroc"].values == (0.7, 0.9)


def test_the_deviation_of_a_mean_over_sets_is_taken_seed_by_seed() -> None:
    """Sets whose seeds vary against each other have a mean that does not vary at all."""
    sets = {"a": [_row("image_auroc", 0.8, 0.9)], "b": [_row("image_auroc", 0.9, 0.8)]}
    [mean] = over_sets(sets)
    assert mean.metrics["image_auroc"].mean == pytest.approx(0.85)
    assert mean.metrics["image_auroc"].std == pytest.approx(0)


def test_sets_without_masks_do_not_count_for_pixel_metrics() -> None:
    """The mean over a set with masks and one without is the first one's figure."""
    [mean] = over_sets({"masked": [_row("pro", 0.6)], "bare": [_row("image_auroc", 0.9)]})
    assert mean.metrics["pro"].mean == pytest.approx(0.6)
    assert mean.metrics["image_auroc"].mean == pytest.approx(0.9)
