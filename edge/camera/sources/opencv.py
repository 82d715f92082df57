"""OpenCV's video capture, silenced: its own messages would stand beside our one line."""

from __future__ import annotations

import os
from collections.abc import Sequence

# Read by OpenCV when it loads FFmpeg: -8 is FFmpeg's "quiet".
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2


def open_capture(
    address: int | str, api: int = cv2.CAP_ANY, options: Sequence[int] = ()
) -> cv2.VideoCapture | None:
    """An opened `cv2.VideoCapture`, or None. `options` are pairs of property and value, taken at opening."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(address, api, list(options))
    return capture if capture.isOpened() else None
