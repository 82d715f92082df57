"""Resizing at the source: the longer side as asked, the shape and the colour kept."""

from __future__ import annotations

import numpy as np
import pytest

from edge.camera.shrinking import shrunk
from edge.camera.sources.base import Captured


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(300, 400, (75, 100)), (400, 300, (100, 75)), (1000, 2, (100, 1)), (100, 100, (100, 100))],
)
def test_longer_side_is_as_asked(height: int, width: int, expected: tuple[int, int]) -> None:
    """The shape is kept, rounded to pixels, and no side vanishes."""
    captured = Captured(np.zeros((height, width, 3), np.uint8), "rgb", "p")
    assert shrunk(captured, 100).pixels.shape == (*expected, 3)


def test_pixels_are_averaged() -> None:
    """Each pixel of half the size is the mean of the four it comes from."""
    pixels = np.array([[0, 10, 1, 1], [20, 30, 1, 1]], np.uint8)[..., None].repeat(3, axis=2)
    assert shrunk(Captured(pixels, "rgb"), 2).pixels[0, :, 0].tolist() == [15, 1]


def test_grey_keeps_its_one_channel() -> None:
    """(H, W, 1) stays (h, w, 1)."""
    assert shrunk(Captured(np.zeros((8, 8, 1), np.uint8), "grey"), 4).pixels.shape == (4, 4, 1)


@pytest.mark.parametrize("max_side", [0, 8, 100])
def test_small_enough_stays_as_it_is(max_side: int) -> None:
    """No copy is made, and nothing is enlarged; 0 is no limit."""
    captured = Captured(np.zeros((6, 8, 3), np.uint8), "bgr")
    assert shrunk(captured, max_side) is captured


def test_the_part_stays_the_part() -> None:
    """Times and part id are those of the capture."""
    captured = Captured(np.zeros((6, 8, 3), np.uint8), "bgr", "p", mono_ns=5, wall_ns=6)
    small = shrunk(captured, 4)
    assert (small.colour, small.part_id, small.mono_ns, small.wall_ns) == ("bgr", "p", 5, 6)
