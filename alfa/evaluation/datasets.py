"""Data sets with known answers, in the three layouts one meets: MVTec AD, VisA, and a plain folder.

MVTec AD: `<class>/test/{good,<defect>}`, masks in `<class>/ground_truth/<defect>`, `<class>/train/good`.
VisA: `split_csv/1cls.csv` beside the classes, or `<class>/Data/Images/{Normal,Anomaly}` without it.
Plain: `<class>/good` and any other folders, each a kind of defect; masks in `<class>/ground_truth/<defect>`.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alfa.errors import BadInput
from alfa.files import reading
from alfa.images import SUFFIXES, list_images, read_image

GOOD = "good"
ANOMALY = "anomaly"

_MASK_STEMS = ("{stem}_mask", "{stem}")
# Masks of MVTec AD are black and white, softened where they were saved as JPEG; VisA numbers its defects.
_WHITE_ABOVE = 127
_NUMBERED_ABOVE = 0
_VISA_SPLIT = Path("split_csv", "1cls.csv")
_VISA_IMAGES = Path("Data", "Images")
_VISA_MASKS = Path("Data", "Masks", "Anomaly")
_VISA_COLUMNS = ("object", "split", "label", "image", "mask")
_PLAIN_OTHERS = frozenset({"ground_truth", "train", "test"})
_LAYOUTS = "a class needs test/good and test/<defect>, good and other folders, or VisA's Data/Images"
# Classes lie in a data set, data sets may lie in a folder of data sets.
_DEEPEST_ROOT = 2


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One test image and what is known about it.

    Attributes:
        path: the image.
        defect: the kind, `good` for a good part.
        mask_path: ground truth of a defective part, where there is one.
        mask_above: pixels of the mask above this value are defective.
    """

    path: Path
    defect: str
    mask_path: Path | None
    mask_above: int = _WHITE_ABOVE

    @property
    def abnormal(self) -> bool:
        """Whether the part is defective."""
        return self.defect != GOOD

    @property
    def mask_known(self) -> bool:
        """Whether it is known which pixels are defective."""
        return self.mask_path is not None or not self.abnormal

    def read_mask(self) -> NDArray[np.bool_] | None:
        """(H, W), true where defective; all false on a good part, None where it is not known.

        Raises:
            BadInput: the mask's file cannot be read.
        """
        if self.mask_path is not None:
            return read_image(self.mask_path)[..., 0] > self.mask_above
        if self.abnormal:
            return None
        return np.zeros(read_image(self.path).shape[:2], bool)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One class of a data set.

    Attributes:
        name: the folder's name, with its parent's where two classes have the same.
        directory: the class's folder.
        train: good images, to teach from.
        test: labelled images, of both kinds.
    """

    name: str
    directory: Path
    train: tuple[Path, ...]
    test: tuple[LabelledImage, ...]

    @property
    def good(self) -> int:
        """How many test images are good."""
        return sum(not image.abnormal for image in self.test)

    @property
    def defective(self) -> int:
        """How many test images are defective."""
        return len(self.test) - self.good

    def limited(self, limit: int | None) -> Dataset:
        """The same with about `limit` test images, evenly out of every kind."""
        return self if limit is None else replace(self, test=spread_over_kinds(self.test, limit))

    def with_training_images(self) -> Dataset:
        """The same with images to teach from: where none are set apart, every second good test image is.

        Raises:
            BadInput: there is only one good image.
        """
        if self.train:
            return self
        good = [image for image in self.test if not image.abnormal]
        if len(good) < 2:
            raise BadInput(self.directory, "", None, "has one good image; teaching and judging need two")
        taught = {image.path for image in good[1::2]}
        test = tuple(image for image in self.test if image.path not in taught)
        return replace(self, train=tuple(sorted(taught)), test=test)


def find_datasets(root: Path) -> tuple[Dataset, ...]:
    """All classes of a directory: itself one, or a data set of many, or a folder of such data sets.

    Raises:
        BadInput: there is no class, or one of them is damaged.
    """
    _require_directory(root)
    found = _classes(root, depth=0)
    if not found:
        raise BadInput(root, "", None, f"holds no class; {_LAYOUTS}")
    return _with_distinct_names(found)


def read_dataset(directory: Path) -> Dataset:
    """List the images of one class in any of the layouts.

    Raises:
        BadInput: it is no class, there is no good or no defective test image, or a mask folder holds no mask
            for any image of its kind.
    """
    _require_directory(directory)
    dataset = _class(directory)
    if dataset is None:
        raise BadInput(directory, "", None, f"is no class; {_LAYOUTS}")
    return dataset


def spread_over_kinds(images: Sequence[LabelledImage], limit: int) -> tuple[LabelledImage, ...]:
    """At most about `limit` images, evenly out of every kind; at least one of each."""
    if len(images) <= limit:
        return tuple(images)
    kinds: defaultdict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        kinds[image.defect].append(image)
    share = limit / len(images)
    return tuple(image for members in kinds.values() for image in _evenly(members, share))


def _evenly(members: list[LabelledImage], share: float) -> list[LabelledImage]:
    count = max(1, round(len(members) * share))
    return [members[index * len(members) // count] for index in range(count)]


def _classes(directory: Path, depth: int) -> list[Dataset]:
    if (directory / _VISA_SPLIT).is_file():
        return _read_visa_split(directory)
    dataset = _class(directory)
    if dataset is not None:
        return [dataset]
    if depth == _DEEPEST_ROOT:
        return []
    return [dataset for child in _folders(directory) for dataset in _classes(child, depth + 1)]


def _class(directory: Path) -> Dataset | None:
    """The class that the directory is, or None."""
    parent = directory.resolve().parent
    if (parent / _VISA_SPLIT).is_file():
        return next(
            (each for each in _read_visa_split(parent) if each.directory == directory.resolve()), None
        )
    if (directory / _VISA_IMAGES).is_dir():
        return _read_visa_folder(directory)
    if (directory / "test").is_dir():
        return _read_mvtec(directory)
    if (directory / GOOD).is_dir():
        return _read_plain(directory)
    return None


def _read_mvtec(directory: Path) -> Dataset:
    train = directory / "train" / GOOD
    taught = tuple(list_images(train)) if train.is_dir() else ()
    return _dataset(directory, directory / "test", taught, _folders(directory / "test"))


def _read_plain(directory: Path) -> Dataset:
    folders = [folder for folder in _folders(directory) if folder.name not in _PLAIN_OTHERS]
    return _dataset(directory, directory, (), folders)


def _dataset(directory: Path, where: Path, train: tuple[Path, ...], folders: Iterable[Path]) -> Dataset:
    test = tuple(image for folder in folders for image in _labelled(directory, folder))
    _require_both_kinds(where, test)
    return Dataset(directory.resolve().name, directory, train, test)


def _read_visa_folder(directory: Path) -> Dataset:
    """VisA without its split: all images are test images."""
    images = directory / _VISA_IMAGES
    masks = directory / _VISA_MASKS
    found = _by_stem(masks) if masks.is_dir() else {}
    good = [LabelledImage(path, GOOD, None) for path in list_images(images / "Normal")]
    bad = [
        LabelledImage(path, ANOMALY, _mask_of(path, found), _NUMBERED_ABOVE)
        for path in list_images(images / "Anomaly")
    ]
    return Dataset(directory.resolve().name, directory, (), (*good, *bad))


def _read_visa_split(root: Path) -> list[Dataset]:
    """VisA by its own table: which images are taught, which are judged, and their masks."""
    path = root / _VISA_SPLIT
    with reading(path), path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = sorted(reader, key=lambda row: row.get("object") or "")
    whole = all(row.get(column) is not None for row in rows for column in _VISA_COLUMNS)
    if not rows or not whole:
        advice = f"needs rows with the columns {', '.join(_VISA_COLUMNS)}; unpack the set again"
        raise BadInput(path, "", None, advice)
    groups = groupby(rows, key=lambda row: row["object"])
    return [_visa_class(root, name, list(members)) for name, members in groups]


def _visa_class(root: Path, name: str, rows: list[dict[str, str]]) -> Dataset:
    taught = tuple(_listed(root, row["image"]) for row in rows if row["split"] == "train")
    test = tuple(_visa_image(root, row) for row in rows if row["split"] == "test")
    _require_both_kinds(root / name, test)
    return Dataset(name, root / name, taught, test)


def _visa_image(root: Path, row: dict[str, str]) -> LabelledImage:
    mask = _listed(root, row["mask"]) if row["mask"] else None
    path = _listed(root, row["image"])
    if row["label"] == "normal":
        return LabelledImage(path, GOOD, None)
    return LabelledImage(path, ANOMALY, mask, _NUMBERED_ABOVE)


def _listed(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file():
        raise BadInput(root / _VISA_SPLIT, "image", name, "is listed but not there; unpack the set whole")
    return path


def _require_both_kinds(where: Path, test: Sequence[LabelledImage]) -> None:
    for wanted, abnormal in ((GOOD, False), ("defective", True)):
        if not any(image.abnormal is abnormal for image in test):
            raise BadInput(where, "", None, f"holds no {wanted} image; AUROC needs both kinds")


def _with_distinct_names(datasets: list[Dataset]) -> tuple[Dataset, ...]:
    names = [dataset.name for dataset in datasets]
    return tuple(
        replace(dataset, name=f"{dataset.directory.resolve().parent.name}/{dataset.name}")
        if names.count(dataset.name) > 1
        else dataset
        for dataset in datasets
    )


def _require_directory(path: Path) -> None:
    try:
        found = path.is_dir()
    except OSError as error:
        raise BadInput(path, "", None, f"cannot be read: {error.strerror}; check the path") from error
    if not found:
        raise BadInput(path, "", None, f"no such directory; {_LAYOUTS}")


def _folders(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise BadInput(directory, "", None, f"cannot be read: {error.strerror}; check its rights") from error


def _labelled(directory: Path, folder: Path) -> list[LabelledImage]:
    paths = list_images(folder)
    masks = directory / "ground_truth" / folder.name
    if folder.name == GOOD or not masks.is_dir():
        return [LabelledImage(path, folder.name, None) for path in paths]
    found = _by_stem(masks)
    images = [LabelledImage(path, folder.name, _mask_of(path, found)) for path in paths]
    if all(image.mask_path is None for image in images):
        raise BadInput(masks, "", None, "fits no image of its kind; name masks like the image, or with _mask")
    return images


def _by_stem(masks: Path) -> dict[str, Path]:
    return {path.stem: path for path in masks.iterdir() if path.suffix.lower() in SUFFIXES}


def _mask_of(path: Path, found: dict[str, Path]) -> Path | None:
    names = (pattern.format(stem=path.stem) for pattern in _MASK_STEMS)
    return next((found[name] for name in names if name in found), None)
