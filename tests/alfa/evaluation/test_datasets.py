"""Reading the three layouts from real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from alfa.errors import BadInput
from alfa.evaluation.datasets import find_datasets, read_dataset, spread_over_kinds

COLUMNS = "object,split,label,image,mask"


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


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    """Two classes, each with one image to teach, one good and one defective to judge."""
    root = tmp_path / "visa"
    lines = [COLUMNS]
    for name in ("candle", "cashew"):
        images = f"{name}/Data/Images"
        mask = f"{name}/Data/Masks/Anomaly/000.png"
        for path in (f"{images}/Normal/0000.JPG", f"{images}/Normal/0001.JPG", f"{images}/Anomaly/000.JPG"):
            _save(root / path)
        _save(root / mask, 2)
        lines += [
            f"{name},train,normal,{images}/Normal/0000.JPG,",
            f"{name},test,normal,{images}/Normal/0001.JPG,",
            f"{name},test,anomaly,{images}/Anomaly/000.JPG,{mask}",
        ]
    _write_split(root, lines)
    return root


def _write_split(root: Path, lines: list[str]) -> None:
    path = root / "split_csv" / "1cls.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    directory = tmp_path / "washer"
    for number in range(5):
        _save(directory / "good" / f"{number}.png")
    _save(directory / "dented" / "0.png")
    _save(directory / "dirty" / "0.png")
    _save(directory / "ground_truth" / "dirty" / "0.png", 255)
    return directory


# MVTec AD


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
    assert not image.mask_known
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


@pytest.mark.parametrize("find", [read_dataset, find_datasets])
def test_a_missing_folder_is_refused(tmp_path: Path, find: Callable[[Path], object]) -> None:
    """One line that says what a data set needs."""
    with pytest.raises(BadInput, match="no such directory"):
        find(tmp_path / "nothing")


# VisA


def test_the_split_says_what_is_taught_and_judged(visa: Path) -> None:
    """One image to teach, one good, one defective, of each class in the table."""
    found = find_datasets(visa)
    assert [each.name for each in found] == ["candle", "cashew"]
    assert [path.name for path in found[0].train] == ["0000.JPG"]
    assert [(image.path.name, image.defect) for image in found[0].test] == [
        ("0001.JPG", "good"),
        ("000.JPG", "anomaly"),
    ]


def test_masks_with_numbered_defects_are_read(visa: Path) -> None:
    """Every number but 0 is a defect, however dark it looks."""
    image = next(image for image in find_datasets(visa)[0].test if image.abnormal)
    mask = image.read_mask()
    assert mask is not None
    assert mask.all()


def test_one_class_of_a_split_can_be_named(visa: Path) -> None:
    """The table beside it still says which images are judged."""
    dataset = read_dataset(visa / "cashew")
    assert (dataset.name, len(dataset.train), dataset.good, dataset.defective) == ("cashew", 1, 1, 1)


def test_without_a_split_all_images_are_judged(visa: Path) -> None:
    """Two good, one defective with its mask, none to teach from."""
    (visa / "split_csv" / "1cls.csv").unlink()
    dataset = read_dataset(visa / "candle")
    assert (len(dataset.train), dataset.good, dataset.defective) == (0, 2, 1)
    assert dataset.test[-1].mask_known


@pytest.mark.parametrize(
    "lines",
    [
        [COLUMNS],
        ["object,split,label,image", "candle,test,normal,candle/Data/Images/Normal/0001.JPG"],
        [COLUMNS, "candle,test,normal"],
    ],
    ids=["no row", "no mask column", "short row"],
)
def test_a_damaged_split_is_refused(visa: Path, lines: list[str]) -> None:
    """Naming the table and its columns."""
    _write_split(visa, lines)
    with pytest.raises(BadInput, match=r"1cls\.csv: needs rows with the columns object"):
        find_datasets(visa)


def test_a_listed_image_that_is_missing_is_refused(visa: Path) -> None:
    """Before anything is judged."""
    (visa / "candle" / "Data" / "Images" / "Normal" / "0001.JPG").unlink()
    with pytest.raises(BadInput, match=r"0001\.JPG': is listed but not there"):
        find_datasets(visa)


# Plain folders


def test_other_folders_than_good_are_kinds_of_defect(plain: Path) -> None:
    """`ground_truth` is none; one of the two kinds has masks."""
    dataset = read_dataset(plain)
    assert [(image.defect, image.mask_known) for image in dataset.test if image.abnormal] == [
        ("dented", False),
        ("dirty", True),
    ]
    assert (dataset.good, dataset.train) == (5, ())


def test_where_no_images_are_set_apart_every_second_good_one_is_taught(plain: Path) -> None:
    """Taught and judged images stay apart."""
    dataset = read_dataset(plain).with_training_images()
    assert [path.name for path in dataset.train] == ["1.png", "3.png"]
    assert [image.path.name for image in dataset.test if not image.abnormal] == ["0.png", "2.png", "4.png"]


def test_images_set_apart_stay_as_they_are(dataset: Path) -> None:
    """The layout's own split is kept."""
    assert read_dataset(dataset).with_training_images() == read_dataset(dataset)


def test_one_good_image_cannot_be_taught_and_judged(plain: Path) -> None:
    """It would be compared with itself."""
    for number in range(1, 5):
        (plain / "good" / f"{number}.png").unlink()
    with pytest.raises(BadInput, match="need two"):
        read_dataset(plain).with_training_images()


# Roots


def test_a_root_holds_its_classes(dataset: Path, visa: Path, plain: Path) -> None:
    """Of any layout, and data sets within a folder of data sets."""
    assert {visa.parent, plain.parent} == {dataset.parent}
    assert [each.name for each in find_datasets(dataset.parent)] == ["nut", "candle", "cashew", "washer"]


def test_a_class_is_its_own_root(dataset: Path) -> None:
    """One class is found where one is named."""
    assert find_datasets(dataset) == (read_dataset(dataset),)


def test_classes_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    """By the folder they lie in."""
    for line in ("left", "right"):
        for kind in ("good", "bad"):
            _save(tmp_path / line / "nut" / kind / "0.png")
    assert [each.name for each in find_datasets(tmp_path)] == ["left/nut", "right/nut"]


def test_a_root_without_a_class_is_refused(tmp_path: Path) -> None:
    """A folder of pictures alone says nothing of what is good."""
    _save(tmp_path / "pictures" / "0.png")
    with pytest.raises(BadInput, match="holds no class"):
        find_datasets(tmp_path)


# Limits


def test_a_limit_takes_from_every_kind(dataset: Path) -> None:
    """Half of the images is half of each kind."""
    chosen = spread_over_kinds(read_dataset(dataset).test, 5)
    assert [image.defect for image in chosen] == ["bent", "good", "good", "scratch", "scratch"]


def test_a_limit_above_the_number_takes_all(dataset: Path) -> None:
    """Nothing is taken twice."""
    whole = read_dataset(dataset)
    assert whole.limited(100) == whole
    assert whole.limited(None) == whole
