"""Cases side by side: image, map, mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from alfa.errors import BadInput
from alfa.evaluation.datasets import LabelledImage
from alfa.evaluation.pictures import case_jpeg

GAP = 6
MAP = np.zeros((4, 4), np.float16)


def _save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Grey, twice as wide as high."""
    return _save(tmp_path / "part.png", np.full((100, 200, 3), 128, np.uint8))


def _panels(image: LabelledImage, patch_map: NDArray[np.float16] = MAP) -> list[NDArray[np.int64]]:
    strip = cv2.imdecode(np.frombuffer(case_jpeg(image, patch_map, (0.0, 1.0)), np.uint8), cv2.IMREAD_COLOR)
    assert strip is not None
    assert strip.shape == (128, 3 * 256 + 2 * GAP, 3)
    return [strip[:, start : start + 256].astype(np.int64) for start in (0, 256 + GAP, 2 * (256 + GAP))]


def _redness(panel: NDArray[np.int64]) -> NDArray[np.int64]:
    return panel[..., 2] - panel[..., 0]


def test_a_map_at_the_good_median_leaves_the_image_clear(image: Path) -> None:
    """Nothing is painted where nothing is."""
    plain, mapped, _ = _panels(LabelledImage(image, "good", None))
    assert np.abs(plain - mapped).max() < 8


def test_the_map_is_painted_where_it_is_high(image: Path) -> None:
    """The left half high: only there the picture changes."""
    high = MAP.copy()
    high[:, :2] = 2
    plain, mapped, _ = _panels(LabelledImage(image, "good", None), high)
    change = np.abs(plain - mapped).max(axis=2)
    assert change[:, :80].min() > 20
    assert change[:, 200:].max() < 8


def test_the_mask_is_outlined_where_it_is(image: Path, tmp_path: Path) -> None:
    """A square of the left half in red; the right half untouched."""
    mask = np.zeros((100, 200), np.uint8)
    mask[20:80, 20:80] = 255
    known = LabelledImage(image, "spot", _save(tmp_path / "mask.png", mask))
    _, _, outlined = _panels(known)
    redness = _redness(outlined)
    assert redness[:, :120].max() > 60
    assert redness[:, 140:].max() < 8


def test_a_mask_that_is_not_known_is_grey_all_over(image: Path) -> None:
    """It is not the same as a part without defect, which shows the part."""
    _, _, unknown = _panels(LabelledImage(image, "spot", None))
    assert np.abs(unknown - 200).max() < 4
    _, _, good = _panels(LabelledImage(image, "good", None))
    assert np.abs(good - 128).max() < 4


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    """The report is made after the judging; files may have moved."""
    with pytest.raises(BadInput, match=r"gone\.png"):
        case_jpeg(LabelledImage(tmp_path / "gone.png", "good", None), MAP, (0, 1))
