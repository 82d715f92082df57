"""Data sets in the MVTec AD layout: `test/good`, `test/<defect>`, `ground_truth/<defect>`, `train/good`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alfa.errors import BadInput
from alfa.images import SUFFIXES, list_images, read_image

GOOD = "good"
_MASK_STEMS = ("{stem}_mask", "{stem}")
_MASK_ON = 127


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One test image and what is known about it.

    Attributes:
        path: the image.
        defect: the test folder's name, `good` for a good part.
        mask_path: ground truth of a defective part, where there is one.
    """

    path: Path
    defect: str
    mask_path: Path | None

    @property
    def abnormal(self) -> bool:
        """Whether the part is defective."""
        return self.defect != GOOD

    def read_mask(self) -> NDArray[np.bool_] | None:
        """(H, W), true where defective; all false on a good part, None where it is not known.

        Raises:
            BadInput: the mask's file cannot be read.
        """
        if self.mask_path is not None:
            return read_image(self.mask_path)[..., 0] > _MASK_ON
        if self.abnormal:
            return None
        return np.zeros(read_image(self.path).shape[:2], bool)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One class of a data set.

    Attributes:
        name: the folder's name.
        train: good images, to teach from.
        test: labelled images.
    """

    name: str
    train: tuple[Path, ...]
    test: tuple[LabelledImage, ...]


def read_dataset(directory: Path) -> Dataset:
    """List the images of one class.

    Raises:
        BadInput: there is no `test` folder, no good or no defective test image, or a mask folder that holds
            no mask for any image of its kind.
    """
    folders = sorted(path for path in _folder(directory / "test").iterdir() if path.is_dir())
    test = tuple(image for folder in folders for image in _labelled(directory, folder))
    for wanted, abnormal in ((GOOD, False), ("defective", True)):
        if not any(image.abnormal is abnormal for image in test):
            raise BadInput(directory / "test", "", None, f"holds no {wanted} image; AUROC needs both kinds")
    train = directory / "train" / GOOD
    return Dataset(directory.resolve().name, tuple(list_images(train)) if train.is_dir() else (), test)


def spread_over_kinds(images: tuple[LabelledImage, ...], limit: int) -> tuple[LabelledImage, ...]:
    """At most about `limit` images, evenly out of every test folder; at least one of each."""
    if len(images) <= limit:
        return images
    kinds = {image.defect: [each for each in images if each.defect == image.defect] for image in images}
    share = limit / len(images)
    return tuple(image for members in kinds.values() for image in _evenly(members, share))


def _evenly(members: list[LabelledImage], share: float) -> list[LabelledImage]:
    count = max(1, round(len(members) * share))
    return [members[index * len(members) // count] for index in range(count)]


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise BadInput(path, "", None, "no such directory; a data set needs test/good and test/<defect>")
    return path


def _labelled(directory: Path, folder: Path) -> list[LabelledImage]:
    paths = list_images(folder)
    masks = directory / "ground_truth" / folder.name
    if folder.name == GOOD or not masks.is_dir():
        return [LabelledImage(path, folder.name, None) for path in paths]
    found = {path.stem: path for path in masks.iterdir() if path.suffix.lower() in SUFFIXES}
    images = [LabelledImage(path, folder.name, _mask_of(path, found)) for path in paths]
    if all(image.mask_path is None for image in images):
        raise BadInput(masks, "", None, "fits no image of its kind; name masks like the image, or with _mask")
    return images


def _mask_of(path: Path, found: dict[str, Path]) -> Path | None:
    names = (pattern.format(stem=path.stem) for pattern in _MASK_STEMS)
    return next((found[name] for name in names if name in found), None)
