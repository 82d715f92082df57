"""The picture a person looks at: the image, its anomaly map on a fixed scale, the region, the score.

The colours mean the same in every picture of a line: 0 is the median of good parts, 1 the threshold. A map
stretched to its own minimum and maximum would paint the noise of a good part as red as a defect. Free of
torch.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from alfa.calibration import scale_span
from alfa.region import Region

# The colour map's end lies at twice the threshold's distance: the threshold itself is its middle.
_FULL_SCALE = 2.0
_STRONGEST_BLEND = 0.6
_BOX = (255, 0, 0)
_TEXT = (255, 255, 255)
_BACKGROUND = (0, 0, 0)


def overlay(
    image: NDArray[np.uint8],
    anomaly_map: NDArray[np.floating],
    region: Region | None,
    scale: tuple[float, float],
    text: str = "",
) -> NDArray[np.uint8]:
    """Draw map, box and text over a copy of the image.

    Args:
        image: (H, W, 3) RGB.
        anomaly_map: (h, w), covering the whole image.
        region: in pixels of the image; drawn as a box.
        scale: (good median, threshold) of the map.
        text: such as the score; written in the upper left corner.

    Returns:
        (H, W, 3) RGB.
    """
    height, width = image.shape[:2]
    levels = normalised_map(anomaly_map, scale)
    picture = _blend(image, cv2.resize(levels, (width, height), interpolation=cv2.INTER_LINEAR))
    if region is not None:
        _draw_box(picture, region)
    if text:
        _write(picture, text)
    return picture


def normalised_map(anomaly_map: NDArray[np.floating], scale: tuple[float, float]) -> NDArray[np.float32]:
    """The map with 0 = good median and 1 = threshold; values that are not finite become 0."""
    median, threshold = scale
    levels: NDArray[np.float32] = (anomaly_map.astype(np.float32) - median) / scale_span(median, threshold)
    return np.where(np.isfinite(levels), levels, np.float32(0))


def _blend(image: NDArray[np.uint8], levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Paint the levels; where the map is at or below the good median the image stays as it is."""
    index = (np.clip(levels / _FULL_SCALE, 0, 1) * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(index, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    strength = (_STRONGEST_BLEND * np.clip(levels, 0, 1))[..., None]
    blended: NDArray[np.uint8] = (image * (1 - strength) + colours * strength).round().astype(np.uint8)
    return blended


def _draw_box(picture: NDArray[np.uint8], region: Region) -> None:
    corner = (region.x + region.width - 1, region.y + region.height - 1)
    cv2.rectangle(picture, (region.x, region.y), corner, _BOX, _line_width(picture))


def _write(picture: NDArray[np.uint8], text: str) -> None:
    """White on a black bar, so that it reads on any image."""
    size = max(0.4, picture.shape[1] / 800)
    thickness = max(1, round(size * 1.5))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    margin = below + 2
    cv2.rectangle(picture, (0, 0), (width + 2 * margin, height + 2 * margin), _BACKGROUND, cv2.FILLED)
    cv2.putText(
        picture,
        text,
        (margin, height + margin),
        cv2.FONT_HERSHEY_SIMPLEX,
        size,
        _TEXT,
        thickness,
        cv2.LINE_AA,
    )


def _line_width(picture: NDArray[np.uint8]) -> int:
    height, width = picture.shape[:2]
    return max(1, int(min(height, width)) // 200)
