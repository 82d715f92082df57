"""The bootstrap against resampling image by image, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from alfa.evaluation.bootstrap import Draws, Interval, image_auroc, pixel_auroc


def test_every_draw_has_as_many_images_of_each_kind_as_the_set() -> None:
    """Stratified: 3 good and 5 defective in each of 50 draws."""
    draws = Draws.of(3, 5, 50, seed=0)
    assert draws.good.shape == (50, 3)
    assert (draws.good.sum(axis=1) == 3).all()
    assert (draws.defective.sum(axis=1) == 5).all()


def test_the_same_seed_draws_the_same_images() -> None:
    """What is compared must be compared on the same draws."""
    first, second = Draws.of(3, 5, 20, seed=4), Draws.of(3, 5, 20, seed=4)
    assert np.array_equal(first.good, second.good)
    assert np.array_equal(first.defective, second.defective)


def test_a_set_without_good_images_has_no_draws() -> None:
    """AUROC needs both kinds."""
    with pytest.raises(ValueError, match="both good and defective"):
        Draws.of(0, 5, 10, seed=0)


def test_image_auroc_by_hand() -> None:
    """Good 1, 2; defective 2, 3: wins 2 > 1, 3 > 1, 3 > 2 and half for 2 = 2 make 3.5 of 4."""
    found = image_auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]), Draws.itself(2, 2))
    assert found.tolist() == [3.5 / 4]


def test_a_draw_weighs_images_by_how_often_it_has_them() -> None:
    """Twice the good 2 and twice the defective 2: half of every pair."""
    draws = Draws(np.array([[0, 2]]), np.array([[2, 0]]))
    assert image_auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]), draws).tolist() == [0.5]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 500))
def test_image_auroc_equals_scikit_learns_on_the_repeated_images(
    good: int, defective: int, seed: int
) -> None:
    """Each draw, with its images written out as often as they were taken."""
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, 4, good).astype(float), rng.integers(0, 4, defective).astype(float))
    draws = Draws.of(good, defective, 5, seed)
    for number, found in enumerate(image_auroc(*scores, draws)):
        taken = (np.repeat(scores[0], draws.good[number]), np.repeat(scores[1], draws.defective[number]))
        truth = np.repeat([0, 1], [good, defective])
        assert found == pytest.approx(roc_auc_score(truth, np.concatenate(taken)))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 500))
def test_pixel_auroc_equals_scikit_learns_on_the_repeated_pixels(
    good: int, defective: int, seed: int
) -> None:
    """Counts per value, against every pixel written out; defective images hold good pixels too."""
    rng = np.random.default_rng(seed)
    histograms = rng.integers(0, 4, (good + defective, 2, 5))
    histograms[:good, 1] = 0
    histograms[:, 0, 0] += 1
    histograms[good:, 1, 2] += 1
    draws = Draws.of(good, defective, 3, seed)
    for number, found in enumerate(pixel_auroc(histograms, draws)):
        taken = np.concatenate([draws.good[number], draws.defective[number]])
        counts = (histograms * taken[:, None, None]).sum(axis=0)
        values = np.concatenate([np.repeat(np.arange(5), counts[kind]) for kind in (0, 1)])
        truth = np.repeat([0, 1], counts.sum(axis=1))
        assert found == pytest.approx(roc_auc_score(truth, values))


def test_how_draws_are_split_changes_nothing() -> None:
    """More draws than are held at once give what each gives alone."""
    rng = np.random.default_rng(0)
    histograms = rng.integers(1, 9, (4, 2, 6))
    draws = Draws.of(2, 2, 250, seed=1)
    alone = [
        pixel_auroc(histograms, Draws(draws.good[at : at + 1], draws.defective[at : at + 1]))[0]
        for at in range(250)
    ]
    np.testing.assert_allclose(pixel_auroc(histograms, draws), alone)


def test_an_interval_holds_95_of_100_draws_and_knows_its_sign() -> None:
    """0.00 .. 1.00 in steps of 0.01: from 0.025 to 0.975; shifted above 0 its sign is sure."""
    steps = np.linspace(0, 1, 101)
    interval = Interval.of(0.5, steps)
    assert (interval.low, interval.high) == pytest.approx((0.025, 0.975))
    assert interval.is_certain
    assert Interval.of(-0.5, -steps - 0.1).is_certain
    assert not Interval.of(0.0, steps - 0.5).is_certain
