"""Images on disk for the commands."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def good_images(tmp_path: Path) -> Path:
    """A directory of thirty good images, named in the order they were made."""
    directory = tmp_path / "good"
    directory.mkdir()
    generator = np.random.default_rng(3)
    for index in range(30):
        noise = generator.integers(-8, 9, (40, 50, 3))
        cv2.imwrite(str(directory / f"{index:03d}.png"), (128 + noise).astype(np.uint8))
    return directory
