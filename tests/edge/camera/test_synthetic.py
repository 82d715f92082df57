"""The synthetic line: same seed, same parts, and a truth that says where the defect is."""

from __future__ import annotations

import numpy as np
import pytest

from edge.camera.rendering.defects import Defect
from edge.camera.sources.base import Captured
from edge.camera.sources.synthetic import SyntheticLine, SyntheticPart, render, truth
from edge.settings import SyntheticSource


def line(seed: int = 3, defect_rate: float = 1.0, width: int = 160, height: int = 120) -> SyntheticSource:
    return SyntheticSource(kind="synthetic", seed=seed, defect_rate=defect_rate, width=width, height=height)


def part_with(kind: Defect) -> tuple[SyntheticPart, SyntheticPart]:
    """The first part of the line with this defect, and the same part without."""
    seq = next(seq for seq in range(200) if truth(line(), seq).kind is kind)
    return render(line(), seq), render(line(defect_rate=0.0), seq)


def test_same_seed_and_number_give_the_same_part() -> None:
    """A part can be rendered again long after it went by."""
    first, again = render(line(), 17), render(line(), 17)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.truth.mask, again.truth.mask)


def test_source_delivers_what_the_truth_is_about() -> None:
    """The pixels of the n-th part read are those of `render(settings, n)`, and its part id is n."""
    source = SyntheticLine(line())
    source.open()
    for seq in range(3):
        shot = source.read(0)
        assert isinstance(shot, Captured)
        assert (shot.part_id, shot.colour) == (str(seq), "rgb")
        np.testing.assert_array_equal(shot.pixels, render(line(), seq).pixels)


def test_parts_differ_from_each_other() -> None:
    """Neither the next part nor the same number of another seed is the same picture."""
    part = render(line(defect_rate=0), 0).pixels
    assert not np.array_equal(part, render(line(defect_rate=0), 1).pixels)
    assert not np.array_equal(part, render(line(defect_rate=0, seed=4), 0).pixels)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (64, 64), (300, 100), (100, 300)])
def test_parts_have_the_size_asked_for(width: int, height: int) -> None:
    """Pixels (H, W, 3) uint8 and a mask (H, W), for any shape of image."""
    part = render(line(width=width, height=height), 0)
    assert part.pixels.shape == (height, width, 3)
    assert part.pixels.dtype == np.uint8
    assert part.truth.mask.shape == (height, width)


def test_without_defects_all_parts_are_good() -> None:
    """Rate 0: no defect, and an empty mask."""
    truths = [truth(line(defect_rate=0), seq) for seq in range(30)]
    assert not any(known.defective or known.mask.any() for known in truths)
    assert {known.kind for known in truths} == {Defect.NONE}


def test_share_of_defective_parts_is_as_set() -> None:
    """Of 400 parts at rate 0.25 about a quarter is defective (within four standard deviations)."""
    settings = line(defect_rate=0.25, width=64, height=64)
    defective = sum(truth(settings, seq).defective for seq in range(400))
    assert abs(defective - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)


@pytest.mark.parametrize("kind", [kind for kind in Defect if kind is not Defect.NONE])
def test_defect_is_visible_where_the_mask_is(kind: Defect) -> None:
    """Against the same part without it, the picture differs in the mask far more than elsewhere."""
    defective, good = part_with(kind)
    change = np.abs(defective.pixels.astype(int) - good.pixels.astype(int)).max(axis=2)
    mask = defective.truth.mask
    assert mask.any()
    assert change[mask].mean() > 15
    assert change[~mask].mean() < change[mask].mean() / 20


def test_every_defective_part_has_a_mask() -> None:
    """No defect falls off the part, whatever the draw."""
    settings = line(width=96, height=72)
    assert all(truth(settings, seq).mask.any() for seq in range(300))


def test_part_fills_most_of_the_image() -> None:
    """Steel, not belt, is what a camera over this line sees: more than half of the pixels are bright."""
    assert (render(line(defect_rate=0), 0).pixels.mean(axis=2) > 100).mean() > 0.6
