"""Good parts in other orientations, for parts that come to the camera turned in any way."""

from __future__ import annotations

import cv2
import numpy as np

from alfa.images import RgbImage

# Upright only, by quarter turns, by eighths.
TURNS = (1, 4, 8)


def turned_copies(image: RgbImage, turns: int) -> list[RgbImage]:
    """The other orientations of an image, without the upright one: by quarter turns or eighths of a turn.

    Quarter turns lose nothing. An eighth keeps the image's size, so corners leave it and what comes in is
    filled with the nearest pixels of its edge.

    Args:
        image: (H, W, 3).
        turns: orientations over the full circle, the upright one counted; one of `TURNS`.

    Returns:
        turns - 1 images; those of odd quarters are (W, H, 3).
    """
    return [_turned(image, 360 * step // turns) for step in range(1, turns)]


def _turned(image: RgbImage, degrees: int) -> RgbImage:
    quarters, rest = divmod(degrees, 90)
    upright = np.ascontiguousarray(np.rot90(image, quarters))
    if not rest:
        return upright
    height, width = upright.shape[:2]
    about_centre = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rest, 1)
    return cv2.warpAffine(upright, about_centre, (width, height), borderMode=cv2.BORDER_REPLICATE)  # type: ignore[no-any-return]
