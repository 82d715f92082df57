"""Overlays: a fixed colour scale, the box, the text."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from alfa.overlay import normalised_map, overlay
from alfa.region import Region

SCALE = (0.2, 0.6)


def _grey(height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def _flat(value: float) -> np.ndarray:
    return np.full((6, 8), value, dtype=np.float16)


def test_the_scale_is_zero_at_the_good_median_and_one_at_the_threshold() -> None:
    """0.2 -> 0, 0.6 -> 1, 1.0 -> 2."""
    levels = normalised_map(np.array([[0.2, 0.6, 1.0]]), SCALE)
    assert levels[0].tolist() == pytest.approx([0, 1, 2], abs=1e-6)


def test_values_that_are_not_finite_and_scales_without_width_stay_finite() -> None:
    """A fault's map can still be drawn."""
    assert np.isfinite(normalised_map(np.array([[np.nan, np.inf, 0.5]]), (0.5, 0.5))).all()


@pytest.mark.parametrize("value", [0.0, 0.2])
def test_a_map_at_or_below_the_good_median_leaves_the_image_as_it_is(value: float) -> None:
    """Good parts are shown unpainted, also when their map is not flat zero."""
    assert np.array_equal(overlay(_grey(), _flat(value), None, SCALE), _grey())


def test_the_same_value_has_the_same_colour_whatever_else_is_in_the_map() -> None:
    """No stretching to the map's own minimum and maximum."""
    calm, wild = _flat(0.4), _flat(0.4)
    wild[:, 4:] = 1.0
    left = (slice(None), slice(0, 20))
    assert np.array_equal(
        overlay(_grey(), calm, None, SCALE)[left], overlay(_grey(), wild, None, SCALE)[left]
    )


def test_above_the_threshold_is_red_and_below_is_not() -> None:
    """The colours of the two sides differ in the way a person expects."""
    above = overlay(_grey(), _flat(1.0), None, SCALE)[30, 40].astype(int)
    below = overlay(_grey(), _flat(0.3), None, SCALE)[30, 40].astype(int)
    assert above[0] > above[2] + 30
    assert below[0] < below[2]


def test_colours_go_on_above_the_threshold_up_to_twice_its_distance() -> None:
    """A value at the threshold (0.6) does not yet look like one far above it; beyond 1.0 nothing changes."""
    at, twice, beyond = (overlay(_grey(), _flat(value), None, SCALE)[30, 40] for value in (0.6, 1.0, 1.4))
    assert not np.array_equal(at, twice)
    assert np.array_equal(twice, beyond)


def test_the_region_is_drawn_where_it_is() -> None:
    """Its corners carry the box's colour, its outside does not."""
    picture = overlay(_grey(), _flat(0.0), Region(10, 20, 30, 25, area=100), SCALE)
    assert picture[20, 10].tolist() == [255, 0, 0]
    assert picture[44, 39].tolist() == [255, 0, 0]
    assert picture[46, 41].tolist() == [128, 128, 128]


def test_the_text_is_written_and_the_image_given_is_left_alone() -> None:
    """Drawing happens on a copy."""
    image = _grey()
    picture = overlay(image, _flat(0.0), None, SCALE, text="NG 0.81")
    assert (picture == 255).any()
    assert np.array_equal(image, _grey())


def test_it_works_without_torch() -> None:
    """Processes that only draw must not load torch."""
    code = "import alfa.overlay, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
