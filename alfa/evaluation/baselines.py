"""What a score must beat to mean anything: three numbers that any camera gives without a model."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from alfa.images import RgbImage

Plane = NDArray[np.float32]
Baseline = Callable[[RgbImage], Plane]

_SIDE = 224
# A cell as large as a patch of a ViT at that size.
_CELL = 14
# Twice as fine as those patches, so that the grid costs the baselines nothing.
_MAP_SIDE = 32


def brightness(image: RgbImage) -> Plane:
    """Grey level."""
    return _grey(image)


def local_contrast(image: RgbImage) -> Plane:
    """Standard deviation around each pixel, over a cell of 14 pixels."""
    grey = _grey(image)
    mean = cv2.blur(grey, (_CELL, _CELL))
    square = cv2.blur(grey * grey, (_CELL, _CELL))
    return np.sqrt(np.maximum(square - mean * mean, 0))  # type: ignore[no-any-return]


def laplacian_energy(image: RgbImage) -> Plane:
    """Root of the squared Laplacian's average over a cell: how sharp and busy a place is."""
    energy = cv2.blur(cv2.Laplacian(_grey(image), cv2.CV_32F) ** 2, (_CELL, _CELL))
    return np.sqrt(np.maximum(energy, 0))  # type: ignore[no-any-return]


BASELINES: dict[str, Baseline] = {
    "mean brightness": brightness,
    "local contrast": local_contrast,
    "Laplacian energy": laplacian_energy,
}


def score_and_map(baseline: Baseline, image: RgbImage) -> tuple[float, NDArray[np.float16]]:
    """The mean of the baseline's plane, and the plane as a map of 32 x 32."""
    plane = baseline(image)
    small = cv2.resize(plane, (_MAP_SIDE, _MAP_SIDE), interpolation=cv2.INTER_AREA)
    return float(plane.mean()), small.astype(np.float16)


def _grey(image: RgbImage) -> Plane:
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)  # type: ignore[no-any-return]
