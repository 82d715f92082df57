"""Resizing at the source, for detectors that need less than the camera gives."""

from __future__ import annotations

import dataclasses

from alfa import shrinking
from edge.camera.sources.base import Captured


def shrunk(captured: Captured, max_side: int) -> Captured:
    """The image with its longer side at most `max_side` pixels (0: as it is), its shape kept.

    By the same function as the detector's.
    """
    height, width, _ = captured.pixels.shape
    longer = max(height, width)
    if not max_side or longer <= max_side:
        return captured
    new_width, new_height = (max(1, round(side * max_side / longer)) for side in (width, height))
    pixels = shrinking.shrunk(captured.pixels, new_width, new_height)
    # OpenCV drops the last axis of a grey image.
    return dataclasses.replace(captured, pixels=pixels.reshape(new_height, new_width, -1))
