"""Regions in pixels of the image as captured."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alfa.region import Region, region_above


def _map(height: int, width: int, *cells: tuple[int, int]) -> np.ndarray:
    values = np.zeros((height, width), dtype=np.float16)
    for cell in cells:
        values[cell] = 1
    return values


def test_nothing_above_the_threshold_gives_no_region() -> None:
    """A map that only reaches the threshold has no region."""
    assert region_above(np.full((4, 4), 0.5, dtype=np.float16), 0.5, (40, 40)) is None


def test_box_and_area_are_stretched_to_the_captured_image() -> None:
    """Cells (1, 2) and (2, 2) of a 4x8 map over a 40x160 image: 20 px wide, 20 px high, all of it above."""
    region = region_above(_map(4, 8, (1, 2), (2, 2)), 0.5, (40, 160))
    assert region == Region(x=40, y=10, width=20, height=20, area=400)


def test_the_area_counts_only_what_is_above() -> None:
    """Two opposite corners span the whole image but fill two of four cells."""
    region = region_above(_map(2, 2, (0, 0), (1, 1)), 0.5, (10, 10))
    assert region == Region(x=0, y=0, width=10, height=10, area=50)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 50), st.integers(1, 50), st.data())
def test_a_region_lies_inside_the_image(
    rows: int, cols: int, height: int, width: int, data: st.DataObject
) -> None:
    """For every map and image size, box and area fit."""
    cell = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, cols - 1)))
    region = region_above(_map(rows, cols, cell), 0.5, (height, width))
    assert region is not None
    assert 0 <= region.x < region.x + region.width <= width
    assert 0 <= region.y < region.y + region.height <= height
    assert region.area >= 1
