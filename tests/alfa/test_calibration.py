"""Split-conformal thresholds against exact quantiles, and files that do not fit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alfa.calibration import Binding, Calibration, calibrate, conformal_rank
from alfa.errors import BadInput

BINDING = Binding(weights_hash="w" * 16, prompts_hash="p" * 16, bank_hash="", method_hash="m" * 16)


@dataclass(frozen=True, slots=True)
class Good:
    """An inspected good image, reduced to what calibration reads."""

    score: float
    anomaly_map: NDArray[np.float16]
    finite: bool = True


def _good(*scores: float) -> list[Good]:
    return [Good(score, np.array([[0, score]], dtype=np.float16)) for score in scores]


def test_nineteen_images_hold_five_percent_at_their_largest_score() -> None:
    """ceil(20 * 0.95) = 19: the threshold is the largest of 0.01 ... 0.19, the median the tenth."""
    scores = [index / 100 for index in range(1, 20)]
    calibration = calibrate(_good(*reversed(scores)), 0.05, BINDING)
    assert calibration.score_threshold == 0.19
    assert calibration.score_median == 0.10
    assert calibration.n == 19


def test_a_larger_alpha_takes_a_smaller_score() -> None:
    """ceil(10 * 0.8) = 8: the eighth of nine."""
    assert calibrate(_good(*range(1, 10)), 0.2, BINDING).score_threshold == 8


def test_the_maps_threshold_is_the_same_quantile_of_each_images_largest_value() -> None:
    """Maps [0, s] have maxima s and, half their values being 0, a median between 0 and the smallest s."""
    calibration = calibrate(_good(*range(1, 10)), 0.2, BINDING)
    assert calibration.map_threshold == 8
    assert calibration.map_median == 0.5


def test_too_few_images_say_what_they_support() -> None:
    """Nine images hold 1/10 at best; 0.05 needs nineteen."""
    with pytest.raises(
        BadInput, match=r"9 good images support a false-reject rate of 0\.1000 .* give 19 images"
    ):
        calibrate(_good(*range(9)), 0.05, BINDING)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_an_alpha_outside_zero_to_one_is_refused(alpha: float) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadInput, match="alpha"):
        calibrate(_good(*range(9)), alpha, BINDING)


def test_no_images_are_refused() -> None:
    """An empty set has no quantile."""
    with pytest.raises(BadInput, match="at least one good image"):
        calibrate([], 0.5, BINDING)


@given(st.integers(1, 400), st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000))
def test_the_rank_is_the_exact_one_in_spite_of_floats(n: int, alpha: Fraction) -> None:
    """ceil((n + 1)(1 - alpha)) in exact arithmetic, or refused where that exceeds n."""
    exact = math.ceil((n + 1) * (1 - alpha))
    if exact > n:
        with pytest.raises(BadInput):
            conformal_rank(n, float(alpha))
    else:
        assert conformal_rank(n, float(alpha)) == exact


def test_a_float_a_hair_above_a_whole_number_does_not_cost_a_rank() -> None:
    """10 * (1 - 0.7) is 3.0000000000000004 in floats; the rank is 3."""
    assert conformal_rank(9, 0.7) == 3


@given(st.integers(0, 100), st.sampled_from([0.05, 0.1, 0.3]))
def test_good_scores_above_the_threshold_are_no_more_than_alpha_allows(seed: int, alpha: float) -> None:
    """Among n calibration scores at most alpha * (n + 1) lie above."""
    scores = np.random.default_rng(seed).normal(size=60)
    threshold = calibrate(_good(*scores), alpha, BINDING).score_threshold
    assert np.count_nonzero(scores > threshold) <= alpha * 61


def test_coverage_holds_on_fresh_good_scores() -> None:
    """Over 2000 draws of 39 + 1 scores, the fresh one is rejected in about 1 of 10."""
    draws = np.random.default_rng(7).exponential(size=(2000, 40))
    thresholds = np.sort(draws[:, :39], axis=1)[:, conformal_rank(39, 0.1) - 1]
    assert np.mean(draws[:, 39] > thresholds) == pytest.approx(0.1, abs=0.02)


def test_the_fixed_scale_is_zero_at_the_median_and_one_at_the_threshold() -> None:
    """0 = good median, 1 = threshold, straight between and beyond."""
    calibration = calibrate(_good(*range(1, 10)), 0.2, BINDING)
    assert [calibration.normalised(score) for score in (5, 8, 11)] == [0, 1, 2]


def test_equal_good_scores_keep_the_scale_finite() -> None:
    """A synthetic line can give identical parts."""
    calibration = calibrate(_good(*[0.5] * 9), 0.2, BINDING)
    assert math.isfinite(calibration.normalised(0.7))
    assert calibration.normalised(0.5) == 0


def test_a_score_that_is_not_finite_is_refused() -> None:
    """NaN sorts to the end and would become the threshold."""
    broken = Good(math.nan, np.zeros((1, 2), dtype=np.float16), finite=False)
    with pytest.raises(BadInput, match=r"images\[2\]"):
        calibrate([*_good(1, 2), broken], 0.5, BINDING)


def test_a_saved_calibration_comes_back_the_same(tmp_path: Path) -> None:
    """File and back: the same values, the same hash."""
    calibration = calibrate(_good(0.1, 1 / 3, 0.7), 0.4, BINDING)
    calibration.save(tmp_path / "calibration.json")
    loaded = Calibration.load(tmp_path / "calibration.json")
    assert loaded == calibration
    assert loaded.content_hash == calibration.content_hash


def test_another_threshold_has_another_hash() -> None:
    """The hash in a verdict tells thresholds apart."""
    first, second = (calibrate(_good(0.1, 0.2, last), 0.3, BINDING) for last in (0.3, 0.4))
    assert first.content_hash != second.content_hash


@pytest.mark.parametrize("field", ["weights_hash", "prompts_hash", "bank_hash", "method_hash"])
def test_a_calibration_of_another_setup_is_refused_by_field(field: str) -> None:
    """The line names what differs."""
    calibration = calibrate(_good(1, 2, 3), 0.3, BINDING)
    values = {name: getattr(BINDING, name) for name in Binding.__slots__} | {field: "other"}
    with pytest.raises(BadInput, match=rf"line1\.json: {field}"):
        calibration.require_match(Binding(**values), "line1.json")


def test_bank_that_was_forgotten_is_asked_for() -> None:
    values = {name: getattr(BINDING, name) for name in Binding.__slots__}
    calibration = calibrate(_good(1, 2, 3), 0.3, Binding(**values | {"bank_hash": "taught"}))
    with pytest.raises(BadInput, match=r"was made with a memory bank, none is given; name it"):
        calibration.require_match(Binding(**values | {"bank_hash": ""}), "line1.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema_version = 9"),
        ({"alpha": 2}, "alpha = 2"),
        ({"score_threshold": None}, "score_threshold"),
        ({"score_threshold": -1}, "a threshold lies below its median"),
        ({"extra": 1}, "extra = 1: unknown key"),
    ],
)
def test_a_wrong_value_in_the_file_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    """Each wrong key is one line with file, key and value."""
    path = tmp_path / "calibration.json"
    content = calibrate(_good(1, 2, 3), 0.3, BINDING).model_dump() | change
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=message):
        Calibration.load(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x01"])
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: str) -> None:
    """Cut short, empty or something else."""
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(BadInput, match="alfa-calibrate"):
        Calibration.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """And the line says how to make one."""
    with pytest.raises(BadInput, match="no such file"):
        Calibration.load(tmp_path / "none.json")
