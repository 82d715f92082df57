"""Where in the captured image the anomaly map lies above its threshold; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Region:
    """The part of an image above the map's threshold, in pixels of the image as captured.

    Attributes:
        x: left edge of the box.
        y: upper edge of the box.
        width: of the box.
        height: of the box.
        area: of the pixels above the threshold alone, at most width * height.
    """

    x: int
    y: int
    width: int
    height: int
    area: int


def region_above(anomaly_map: NDArray[np.floating], threshold: float, size: tuple[int, int]) -> Region | None:
    """The box around all of the map that is above `threshold`, or None where nothing is.

    Args:
        anomaly_map: (h, w), at model resolution.
        threshold: a value strictly above it counts.
        size: (height, width) of the image as captured, which the map covers whole.
    """
    above = anomaly_map > threshold
    count = int(np.count_nonzero(above))
    if not count:
        return None
    rows, cols = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    y, height = _stretched(rows, above.shape[0], size[0])
    x, width = _stretched(cols, above.shape[1], size[1])
    area = count * size[0] * size[1] / above.size
    return Region(x, y, width, height, area=max(1, round(area)))


def _stretched(cells: NDArray[np.intp], of: int, length: int) -> tuple[int, int]:
    """Start and extent of cells in order, along an axis of `of` cells, stretched to `length` pixels."""
    start = int(cells[0]) * length // of
    end = -(-(int(cells[-1]) + 1) * length // of)
    return start, end - start
