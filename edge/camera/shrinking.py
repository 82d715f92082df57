"""Resizing at the source, for detectors that need less than the camera gives."""

from __future__ import annotations

import dataclasses

import cv2

from edge.camera.sources.base import Captured


def shrunk(captured: Captured, max_side: int) -> Captured:
    """The image with its longer side at most `max_side` pixels (0: as it is), its shape kept.

    Pixels are averaged over the area they come from (INTER_AREA), as the detector does when it shrinks.
    """
    height, width, _ = captured.pixels.shape
    longer = max(height, width)
    if not max_side or longer <= max_side:
        return captured
    size = (max(1, round(width * max_side / longer)), max(1, round(height * max_side / longer)))
    pixels = cv2.resize(captured.pixels, size, interpolation=cv2.INTER_AREA)
    # OpenCV drops the last axis of a grey image.
    return dataclasses.replace(captured, pixels=pixels.reshape(size[1], size[0], -1))
