"""Pictures go with the verdicts that need them, in the right colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import pytest

from edge.detector.evidence import PictureChooser, encode_jpeg, picture
from edge.messages import FaultReason, Frame, Result, Verdict

MakeFrame = Callable[..., Frame]
# A frame in shared memory, and what puts another part's pixels into its slot.
ReusedSlot = tuple[Frame, Callable[[], None]]


RGB = (200, 60, 30)


def verdict(result: Result, fault: FaultReason = FaultReason.NONE) -> Verdict:
    return Verdict("line1", 1, 0, "", result, fault)


def test_every_nth_ok_part_has_a_picture() -> None:
    """With n = 3 the third and the sixth."""
    chooser = PictureChooser(every_ok=3)
    assert [chooser.wants(verdict(Result.OK)) for _ in range(6)] == [False, False, True] * 2


def test_lines_are_counted_apart() -> None:
    """One line's OK parts do not use up another's turn."""
    chooser = PictureChooser(every_ok=2)
    assert not chooser.wants(verdict(Result.OK))
    assert not chooser.wants(replace(verdict(Result.OK), line="line2"))


@pytest.mark.parametrize(
    ("result", "fault", "wanted"),
    [
        (Result.NG, FaultReason.NONE, True),
        (Result.FAULT, FaultReason.NON_FINITE, True),
        (Result.FAULT, FaultReason.MODEL_ERROR, True),
        (Result.FAULT, FaultReason.STALE, False),
    ],
)
def test_ng_and_faults_of_judging_have_a_picture(result: Result, fault: FaultReason, wanted: bool) -> None:
    """A part that was only late has none: encoding would deepen the overload."""
    assert PictureChooser(every_ok=1000).wants(verdict(result, fault)) is wanted


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_the_jpeg_has_the_colours_of_the_part(make_frame: MakeFrame, colour: Literal["rgb", "bgr"]) -> None:
    """Whatever order the camera sends, the picture shows the same."""
    frame = make_frame(0)
    pixels = np.full((24, 32, 3), RGB if colour == "rgb" else RGB[::-1], np.uint8)
    pixels.flags.writeable = False
    header = replace(frame.header, colour=colour)
    jpeg = np.frombuffer(encode_jpeg(Frame(header, pixels), 95), np.uint8)
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.abs(decoded.reshape(-1, 3).mean(axis=0) - RGB[::-1]).max() < 4


def test_a_picture_without_inspection_has_no_map(make_frame: MakeFrame) -> None:
    """The judged image is there, the map is 0 x 0."""
    made = picture(make_frame(0), verdict(Result.FAULT, FaultReason.MODEL_ERROR), None, (0.0, 0.5), 90)
    assert made.values.shape == (0, 0)
    assert made.jpeg[:2] == b"\xff\xd8"


def test_pixels_that_jpeg_cannot_hold_give_no_picture(make_frame: MakeFrame) -> None:
    """A side above 65,500 pixels is beyond the format; the map goes without."""
    frame = make_frame(0)
    header = replace(frame.header, height=1, width=65535)
    assert encode_jpeg(Frame(header, np.zeros((1, 65535, 3), np.uint8)), 90) == b""


def test_a_picture_shows_its_part_or_nothing(reused: ReusedSlot) -> None:
    """Pixels that another part has overwritten are not sent as this one's."""
    frame, overwrite = reused
    assert picture(frame, verdict(Result.NG), None, (0.0, 0.5), 90).jpeg
    overwrite()
    assert picture(frame, verdict(Result.NG), None, (0.0, 0.5), 90).jpeg == b""
