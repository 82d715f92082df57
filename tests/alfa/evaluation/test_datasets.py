"""Reading the MVTec AD layout from real files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from alfa.errors import BadInput
from alfa.evaluation.datasets import read_dataset, spread_over_kinds


def _save(path: Path, value: int = 128) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 20, 3), value, np.uint8))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    directory = tmp_path / "nut"
    for number in range(4):
        _save(directory / "train" / "good" / f"{number:03}.png")
        _save(directory / "test" / "good" / f"{number:03}.png")
        _save(directory / "test" / "scratch" / f"{number:03}.png")
        _save(directory / "ground_truth" / "scratch" / f"{number:03}_mask.png", 255)
    for number in range(2):
        _save(directory / "test" / "bent" / f"{number:03}.png")
    return directory


def test_labels_come_from_the_folders(dataset: Path) -> None:
    """Everything that is not in `good` is defective, and carries its folder's name."""
    images = read_dataset(dataset).test
    assert [image.defect for image in images] == ["bent"] * 2 + ["good"] * 4 + ["scratch"] * 4
    assert [image.abnormal for image in images] == [True] * 2 + [False] * 4 + [True] * 4


def test_training_images_are_the_good_ones(dataset: Path) -> None:
    """Four images to teach from, sorted."""
    assert [path.name for path in read_dataset(dataset).train] == ["000.png", "001.png", "002.png", "003.png"]


def test_a_mask_marks_its_own_image(dataset: Path) -> None:
    """The mask is found by the image's name and read as true where it is white."""
    image = next(image for image in read_dataset(dataset).test if image.defect == "scratch")
    mask = image.read_mask()
    assert mask is not None
    assert mask.shape == (20, 20)
    assert mask.all()


def test_a_good_image_has_an_empty_mask(dataset: Path) -> None:
    """Nothing on a good part is defective."""
    image = next(image for image in read_dataset(dataset).test if not image.abnormal)
    mask = image.read_mask()
    assert mask is not None
    assert not mask.any()


def test_a_defect_without_ground_truth_is_unknown_not_empty(dataset: Path) -> None:
    """An image without mask must not count as free of defects."""
    image = next(image for image in read_dataset(dataset).test if image.defect == "bent")
    assert image.read_mask() is None


def test_masks_that_fit_no_image_are_refused(dataset: Path) -> None:
    """A mask folder with other names is a mistake, not a set without masks."""
    for path in (dataset / "ground_truth" / "scratch").iterdir():
        path.rename(path.with_name(f"label-{path.name}"))
    with pytest.raises(BadInput, match="ground_truth/scratch"):
        read_dataset(dataset)


def test_a_set_without_good_images_is_refused(tmp_path: Path) -> None:
    """AUROC needs both kinds."""
    _save(tmp_path / "test" / "scratch" / "0.png")
    with pytest.raises(BadInput, match="no good image"):
        read_dataset(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """One line that says what a data set needs."""
    with pytest.raises(BadInput, match="no such directory"):
        read_dataset(tmp_path / "nothing")


def test_a_limit_takes_from_every_kind(dataset: Path) -> None:
    """Half of the images is half of each kind."""
    chosen = spread_over_kinds(read_dataset(dataset).test, 5)
    assert [image.defect for image in chosen] == ["bent", "good", "good", "scratch", "scratch"]


def test_a_limit_above_the_number_takes_all(dataset: Path) -> None:
    """Nothing is taken twice."""
    images = read_dataset(dataset).test
    assert spread_over_kinds(images, 100) == images
