"""Parts for a line that is measured: rendered once, because rendering costs more than the line does."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.camera.sources.synthetic import render
from edge.settings import SyntheticSource

_PICTURES = 8


def write_pictures(directory: Path, width: int, height: int) -> Path:
    """Write a few parts as files that cost little to read (BMP); gives `directory`, for a folder source."""
    directory.mkdir()
    source = SyntheticSource(kind="synthetic", width=width, height=height)
    for seq in range(_PICTURES):
        pixels = render(source, seq).pixels
        cv2.imwrite(str(directory / f"{seq}.bmp"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return directory
