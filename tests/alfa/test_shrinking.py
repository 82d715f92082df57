"""Large images are halved before they are shrunk: cheaper, and the same picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from alfa.shrinking import shrunk


def _noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    times=st.sampled_from([1, 2, 4, 8, 16]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_a_pixel_is_the_mean_of_the_area_it_covers(times: int, height: int, width: int, seed: int) -> None:
    """To one grey level a halving: each rounds."""
    image = _noise(times * height, times * width, seed)
    mean = image.reshape(height, times, width, times, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk(image, width, height), mean, atol=1.5)


@pytest.mark.parametrize(("height", "width"), [(399, 400), (400, 399), (150, 400), (400, 150)])
def test_what_is_odd_or_less_than_six_times_too_large_is_shrunk_at_once(height: int, width: int) -> None:
    """Byte for byte OpenCV's own."""
    image = _noise(height, width)
    directly = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(shrunk(image, 64, 48), directly)


def test_a_size_that_divides_nothing_gives_the_picture_of_one_step() -> None:
    """1080p: slopes differ by a rounding, a hard edge by less than a tenth of its height."""
    y, x = np.mgrid[:1080, :1920]
    planes = (
        128 + 100 * np.sin(x / 40),
        128 + 100 * np.cos(y / 30),
        200 * (np.hypot(y - 540, x - 960) < 400),
    )
    picture = np.stack(planes, axis=-1).astype(np.uint8)
    directly = cv2.resize(picture, (294, 168), interpolation=cv2.INTER_AREA)
    difference = np.abs(shrunk(picture, 294, 168).astype(int) - directly)
    slope, other_slope, edge = difference.max(axis=(0, 1))
    assert slope <= 1
    assert other_slope <= 1
    assert edge < 20


def test_a_grey_image_has_no_last_axis() -> None:
    """As OpenCV has it, halved or not."""
    image = np.zeros((64, 64, 1), np.uint8)
    assert shrunk(image, 4, 4).shape == shrunk(image, 40, 40)[:4, :4].shape == (4, 4)
