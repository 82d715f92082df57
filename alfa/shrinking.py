"""Making images smaller, at the camera and in front of the model alike."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# An image that is this many times too large is halved first: OpenCV averages blocks of two by two several
# times faster than areas that end within pixels. What is left is still averaged over three pixels and more.
_HALVED_FROM = 6


def shrunk(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The image at a smaller size, each pixel the mean of the area that it covers (INTER_AREA).

    Args:
        image: (H, W) or (H, W, c) of more pixels than the result; may be read-only. One of an odd side is
            not halved: the blocks would not be those of the areas.
        width: of the result, in pixels.
        height: likewise.

    Returns:
        (height, width) or (height, width, c); of one channel OpenCV drops the axis.
    """
    while _is_halved_first(image, width, height):
        rows, columns = image.shape[:2]
        image = _resized(image, columns // 2, rows // 2)
    return _resized(image, width, height)


def _is_halved_first(image: NDArray[np.uint8], width: int, height: int) -> bool:
    rows, columns = image.shape[:2]
    if rows % 2 or columns % 2:
        return False
    return bool(rows >= _HALVED_FROM * height and columns >= _HALVED_FROM * width)


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]
