"""Frames for tests of the detector, as a camera would send them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from edge.messages import Frame, FrameHeader


@pytest.fixture
def make_frame() -> Callable[..., Frame]:
    """`make_frame(seq, line="line1", epoch=1, age_ms=0, level=0)`: a grey-blue picture captured just now."""

    def frame(seq: int, line: str = "line1", epoch: int = 1, age_ms: float = 0, level: int = 0) -> Frame:
        pixels = np.full((24, 32, 3), (level, 60, 200), np.uint8)
        header = FrameHeader(
            line=line,
            epoch=epoch,
            seq=seq,
            mono_ns=time.monotonic_ns() - int(age_ms * 1e6),
            wall_ns=time.time_ns(),
            height=24,
            width=32,
            channels=3,
            dtype="uint8",
            colour="rgb",
            part_id=f"part-{seq}",
        )
        return Frame(header, pixels)

    return frame
