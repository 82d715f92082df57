"""Videos for the sources that read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES = 4


@pytest.fixture
def write_video() -> Callable[[Path], None]:
    """`write_video(path)`: four frames of 64 x 48 at 10 a second, each brighter than the one before."""

    def write(path: Path) -> None:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
        for number in range(FRAMES):
            writer.write(np.full((48, 64, 3), 60 * number, np.uint8))
        writer.release()

    return write
