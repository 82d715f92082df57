"""Orientations of a taught part."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from alfa.turning import turned_copies


def _image(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_one_orientation_is_the_upright_one_alone() -> None:
    """Nothing is added."""
    assert turned_copies(_image(20, 30), 1) == []


def test_quarter_turns_lose_no_pixel() -> None:
    """Each turned back is the image itself."""
    image = _image(20, 30)
    copies = turned_copies(image, 4)
    assert [copy.shape for copy in copies] == [(30, 20, 3), (20, 30, 3), (30, 20, 3)]
    for quarters, copy in enumerate(copies, start=1):
        assert np.array_equal(np.rot90(copy, -quarters), image)


def test_eighths_lie_between_the_quarters() -> None:
    """A bright bar from the middle to the right points up right after an eighth, up after a quarter."""
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 21:36] = 255
    eighth, quarter = turned_copies(image, 8)[:2]
    assert eighth[12, 28].min() > 100
    assert eighth[20, 30].max() == 0
    assert quarter[10, 20].min() == 255


@pytest.mark.parametrize("turns", [4, 8])
def test_an_even_image_stays_as_it_is(turns: int) -> None:
    """Nothing dark comes in at the corners."""
    even = np.full((30, 40, 3), 77, np.uint8)
    copies = turned_copies(even, turns)
    assert len(copies) == turns - 1
    assert all((copy == 77).all() for copy in copies)
