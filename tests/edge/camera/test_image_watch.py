"""Silent and frozen cameras, told from those that show the world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.image_watch import ImageWatch
from edge.camera.sources.base import Captured, Unreadable
from edge.camera.sources.choice import make_watch
from edge.settings import DeviceSource, FolderSource, Source, SyntheticSource, VideoSource


def image(level: int, part_id: str = "") -> Captured:
    return Captured(np.full((4, 6, 3), level, np.uint8), "rgb", part_id)


def test_silence_is_told_once_it_is_too_long() -> None:
    """Counted from the last image, or from the start; the next image ends it."""
    watch = ImageWatch(silent_after_s=5, frozen_after=0, now_s=100)
    assert watch.trouble(105) is None
    assert str(watch.trouble(106)) == "camera_silent: no image for 6 s"
    watch.checked(image(1), 107)
    assert watch.trouble(112) is None
    assert watch.trouble(113) is not None


def test_part_without_image_ends_a_silence() -> None:
    """The camera speaks, whatever it says."""
    watch = ImageWatch(silent_after_s=5, frozen_after=0, now_s=100)
    watch.checked(Unreadable("", "16 bits"), 106)
    assert watch.trouble(106) is None


def test_source_may_be_silent_and_repeat_where_nothing_is_set() -> None:
    """A folder may hold one image twice, a line may stand still for a night."""
    watch = ImageWatch(silent_after_s=0, frozen_after=0, now_s=0)
    shots = [image(1) for _ in range(50)]
    assert [watch.checked(shot, 0) for shot in shots] == shots
    assert watch.trouble(50_000) is None


def test_image_that_repeats_too_often_is_no_image_of_its_part() -> None:
    """The third of three equal ones goes without; number and time of capture stay the part's."""
    watch = ImageWatch(silent_after_s=0, frozen_after=3, now_s=0)
    frozen = image(1, part_id="third")
    shots = [watch.checked(shot, 0) for shot in (image(1), image(1), frozen)]
    assert [isinstance(shot, Captured) for shot in shots] == [True, True, False]
    assert shots[2] == Unreadable(
        "third", "camera_frozen: the same image 3 times in a row", frozen.mono_ns, frozen.wall_ns
    )
    assert str(watch.trouble(0)) == "camera_frozen: the same image 3 times in a row"


def test_another_image_thaws() -> None:
    """The part that it shows is judged."""
    watch = ImageWatch(silent_after_s=0, frozen_after=2, now_s=0)
    for level in (1, 1):
        watch.checked(image(level), 0)
    other = image(2)
    assert watch.checked(other, 0) is other
    assert watch.trouble(0) is None


@given(st.integers(0, 63), st.integers(0, 95))
def test_small_image_is_compared_whole(row: int, column: int) -> None:
    """One pixel that differs by one is another image."""
    watch = ImageWatch(silent_after_s=0, frozen_after=2, now_s=0)
    pixels = np.full((64, 96, 1), 7, np.uint8)
    other = pixels.copy()
    other[row, column] += 1
    watch.checked(Captured(pixels, "grey"), 0)
    watch.checked(Captured(other, "grey"), 0)
    assert watch.trouble(0) is None


def test_large_image_with_other_noise_is_another() -> None:
    """Of twelve megapixels a sample is enough."""
    noise = np.random.default_rng(0)
    watch = ImageWatch(silent_after_s=0, frozen_after=2, now_s=0)
    for _ in range(2):
        watch.checked(Captured(noise.integers(0, 2, (3000, 4000, 1), np.uint8), "grey"), 0)
    assert watch.trouble(0) is None


def test_size_is_part_of_an_image() -> None:
    """A black image of another shape is another one, though it has as many pixels."""
    watch = ImageWatch(silent_after_s=0, frozen_after=2, now_s=0)
    watch.checked(Captured(np.zeros((4, 6, 1), np.uint8), "grey"), 0)
    watch.checked(Captured(np.zeros((6, 4, 1), np.uint8), "grey"), 0)
    assert watch.trouble(0) is None


@pytest.mark.parametrize(
    ("source", "watched"),
    [
        (FolderSource(kind="folder", path=Path("images")), False),
        (VideoSource(kind="video", path=Path("v.avi")), False),
        (SyntheticSource(kind="synthetic"), False),
        (DeviceSource(kind="device", device=0), True),
        (DeviceSource(kind="device", device=0, silent_after_ms=0, frozen_after=0), False),
    ],
)
def test_only_cameras_are_watched_unless_they_are_not_to_be(source: Source, watched: bool) -> None:
    """Whatever stands in for a camera may repeat an image and rest."""
    watch = make_watch(source, now_s=0)
    assert (watch.trouble(3600) is not None) is watched
    shots = [watch.checked(image(1), 0) for _ in range(20)]
    assert isinstance(shots[-1], Unreadable) is watched
