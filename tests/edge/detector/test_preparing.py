"""What is done to a frame while it waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from alfa.backbone import Backbone
from edge.detector.preparing import Preparer, Refusal
from edge.messages import FaultReason, Frame

MakeFrame = Callable[..., Frame]
# A frame in shared memory, and what puts another part's pixels into its slot.
ReusedSlot = tuple[Frame, Callable[[], None]]


@pytest.fixture
def preparer(tiny_backbone: Backbone) -> Preparer:
    """For one line whose frames may be 5 s old."""
    return Preparer(tiny_backbone.preprocessor, {"line1": 5000})


def test_a_frame_is_fitted_to_the_model(
    preparer: Preparer, tiny_backbone: Backbone, make_frame: MakeFrame
) -> None:
    """The image is what the preprocessor makes of the pixels, and the frame stays as it came."""
    frame = make_frame(0)
    prepared = preparer.prepare(frame)
    np.testing.assert_array_equal(prepared.image, tiny_backbone.preprocessor.fit(frame.pixels))
    assert prepared.frame is frame
    assert frame.header.mono_ns < prepared.begun_ns <= prepared.done_ns


def test_a_frame_that_is_too_old_is_refused(preparer: Preparer, make_frame: MakeFrame) -> None:
    """Nothing is resized for a part that is past."""
    refusal = preparer.prepare(make_frame(0, age_ms=5001)).refusal
    assert refusal is not None
    assert refusal.reason is FaultReason.STALE


def test_age_is_counted_from_the_capture(preparer: Preparer, make_frame: MakeFrame) -> None:
    """In time at the limit, stale a millisecond later, and the age is told."""
    frame = make_frame(0)
    at_limit = frame.header.mono_ns + 5_000_000_000
    assert preparer.staleness(frame, at_limit) is None
    assert preparer.staleness(frame, at_limit + 1_000_000) == Refusal(
        FaultReason.STALE, "5001 ms old when its turn came"
    )


def test_pixels_that_are_no_image_of_their_colour_are_refused(
    preparer: Preparer, make_frame: MakeFrame
) -> None:
    """The refusal says what was wrong; nothing is raised into the thread that prepares."""
    frame = make_frame(0)
    odd = Frame(replace(frame.header, colour="grey"), frame.pixels)
    refusal = preparer.prepare(odd).refusal
    assert refusal is not None
    assert refusal.reason is FaultReason.MODEL_ERROR
    assert "does not fit 8-bit grey" in refusal.detail


def test_pixels_that_became_another_parts_are_refused(preparer: Preparer, reused: ReusedSlot) -> None:
    """A frame whose slot was written meanwhile is no picture of its part; one that is whole is prepared."""
    frame, overwrite = reused
    assert preparer.prepare(frame).refusal is None
    overwrite()
    assert preparer.prepare(frame).refusal == Refusal(
        FaultReason.UNDECODABLE, "slot 0 holds frame 2 of the ring and not 1"
    )
