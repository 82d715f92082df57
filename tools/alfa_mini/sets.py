"""The nine training sets: what their images show, what their defects are called, which images to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from alfa.images import list_images, read_image
from tools.alfa_mini.defects import KINDS, Image, render

_WORKING_SIDE = 448
_VARIED_SIDE = 320
_SMALLEST_CROP = 0.35
_RECOLOURED = 0.7
_GREY = 0.25


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """One folder in the MVTec layout.

    Attributes:
        name: the folder.
        classes: what the part is called.
        defects: test folder -> kinds of defect (keys of `captions.DEFECTS`) that are in it.
        masked: test folders whose masks mark all that is defective.
    """

    name: str
    classes: tuple[str, ...]
    defects: dict[str, tuple[str, ...]]
    masked: tuple[str, ...] = ()


SETS = (
    TrainingSet("aliens", ("toy alien", "toy figure", "plastic toy"), {"anomaly": ("missing", "displaced")}),
    TrainingSet(
        "cookies",
        ("cookie", "biscuit"),
        {"broken": ("missing", "crack"), "broken_nomask": ("missing",)},
        ("broken",),
    ),
    TrainingSet(
        "deeppcb",
        ("printed circuit board", "PCB", "circuit board"),
        {"defect": ("missing", "hole", "specks")},
        ("defect",),
    ),
    TrainingSet("dobot_cubes", ("cube", "coloured block", "toy brick"), {"abnormal": ("hole", "foreign")}),
    TrainingSet("hazelnut_toy", ("hazelnut", "nut"), {"colour": ("stain", "discolouration")}, ("colour",)),
    TrainingSet("hexnut", ("hex nut", "metal nut", "steel nut"), {"broken": ("missing", "bent")}),
    TrainingSet("pillqc", ("pill", "tablet"), {"chip": ("missing",), "dirt": ("specks", "stain")}),
    TrainingSet(
        "pump_house", ("pump housing", "casting", "metal housing"), {"defect": ("stain", "discolouration")}
    ),
    # Its own defects are changes of statistics that nobody sees at 224 pixels: rendered ones only.
    TrainingSet("textile", ("textile", "fabric", "cloth"), {}),
)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image to learn from.

    Attributes:
        group: index into `SETS`.
        image: RGB.
        abnormal: whether a defect is on it.
        kinds: kinds of defect on it.
        mask: (H, W), 1 where defective; None where that is not known.
        rendered: whether the defect is.
    """

    group: int
    image: Image
    abnormal: bool
    kinds: tuple[str, ...]
    mask: Image | None
    rendered: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sample comes from; reading and rendering wait until it is needed."""

    group: int
    path: Path
    folder: str
    mask_path: Path | None
    rendered_kind: str
    donor: Path | None
    seed: int
    varied: bool = False


def sources(data: Path, per_kind: int, pairs: int, seed: int) -> tuple[list[Source], list[Source]]:
    """What to learn from, each list in a random order.

    Args:
        data: the folder that holds the sets.
        per_kind: most images of each kind of one set.
        pairs: of one set.
        seed: of choice and order.

    Returns:
        Good, defective and rendered pictures; and varied pairs: a good picture in another crop, turn and
        light, and the same with a rendered defect.
    """
    rng = np.random.default_rng(seed)
    goods = [_spread(_good_images(data / each.name), per_kind) for each in SETS]
    found = [source for group in range(len(SETS)) for source in _of_set(data, group, goods, per_kind, rng)]
    found = _shuffled(found, rng)
    varied = [source for group in range(len(SETS)) for source in _pairs(group, goods, pairs, rng)]
    return found, _shuffled(varied, rng)


def _shuffled(sources: list[Source], rng: np.random.Generator) -> list[Source]:
    return [sources[index] for index in rng.permutation(len(sources))]


def read(source: Source) -> Sample:
    """Read, and render where the source says so."""
    image = _shrunk(read_image(source.path))
    if source.rendered_kind:
        rng = np.random.default_rng(source.seed)
        image = vary(image, rng) if source.varied else _turned(image, int(rng.integers(4)))
        assert source.donor is not None
        donor = cv2.resize(read_image(source.donor), (image.shape[1], image.shape[0]))
        image, mask = render(image, donor, source.rendered_kind, rng)
        return Sample(source.group, image, True, (source.rendered_kind,), mask, True)
    if source.varied:
        image = vary(image, np.random.default_rng(source.seed))
    if source.folder == "good":
        return Sample(source.group, image, False, (), np.zeros(image.shape[:2], np.uint8), False)
    kinds = SETS[source.group].defects[source.folder]
    return Sample(source.group, image, True, kinds, _mask(source.mask_path, image), False)


def _of_set(
    data: Path, group: int, goods: list[list[Path]], per_kind: int, rng: np.random.Generator
) -> Iterator[Source]:
    each = SETS[group]
    for path in goods[group]:
        yield Source(group, path, "good", None, "", None, 0)
    for folder in each.defects:
        paths = list_images(data / each.name / "test" / folder)
        for path in _spread(paths, max(1, per_kind // len(each.defects))):
            mask = data / each.name / "ground_truth" / folder / f"{path.stem}_mask.png"
            yield Source(group, path, folder, mask if folder in each.masked else None, "", None, 0)
    others = _others(group, goods)
    for number in range(per_kind):
        good = goods[group][number % len(goods[group])]
        kind = KINDS[(number + group) % len(KINDS)]
        donor = others[int(rng.integers(len(others)))]
        yield Source(group, good, "good", None, kind, donor, int(rng.integers(2**31)))


def _pairs(group: int, goods: list[list[Path]], count: int, rng: np.random.Generator) -> Iterator[Source]:
    """The seed fixes the variation, so both of a pair show the same place in the same light."""
    others = _others(group, goods)
    for number in range(count):
        path = goods[group][int(rng.integers(len(goods[group])))]
        donor = others[int(rng.integers(len(others)))]
        seed = int(rng.integers(2**31))
        yield Source(group, path, "good", None, "", None, seed, varied=True)
        yield Source(group, path, "good", None, KINDS[number % len(KINDS)], donor, seed, varied=True)


def _others(group: int, goods: list[list[Path]]) -> list[Path]:
    return [path for index, paths in enumerate(goods) if index != group for path in paths]


def _good_images(directory: Path) -> list[Path]:
    return [*list_images(directory / "train" / "good"), *list_images(directory / "test" / "good")]


def _spread(paths: list[Path], count: int) -> list[Path]:
    """At most `count`, evenly over the list: neighbours are often shots of the same part."""
    if len(paths) <= count:
        return paths
    return [paths[index * len(paths) // count] for index in range(count)]


def vary(image: Image, rng: np.random.Generator) -> Image:
    """Another crop, turn, colour and light: nine sets are few, and what is learnt must not hang on them."""
    side = rng.uniform(_SMALLEST_CROP, 1)
    height, width = (max(32, int(length * side)) for length in image.shape[:2])
    top, left = (int(rng.integers(free + 1)) for free in (image.shape[0] - height, image.shape[1] - width))
    crop = _turned(image[top : top + height, left : left + width], int(rng.integers(4)))
    light = crop.astype(np.float32) / 255
    if rng.random() < _RECOLOURED:
        light = light[..., rng.permutation(3)] * rng.uniform(0.6, 1.1, 3).astype(np.float32)
    light = np.clip(light, 0, 1) ** np.float32(rng.uniform(0.6, 1.6))
    if rng.random() < _GREY:
        light = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    varied: Image = (255 * np.clip(light, 0, 1)).astype(np.uint8)
    return cv2.resize(varied, (_VARIED_SIDE, _VARIED_SIDE), interpolation=cv2.INTER_LINEAR)  # type: ignore[no-any-return]


def _turned(image: Image, quarters: int) -> Image:
    return np.ascontiguousarray(np.rot90(image, quarters))


def _shrunk(image: Image) -> Image:
    scale = _WORKING_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]


def _mask(path: Path | None, image: Image) -> Image | None:
    if path is None:
        return None
    mask = read_image(path)[..., 0]
    mask = cv2.resize(mask, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
    marked: Image = (mask > 127).astype(np.uint8)
    return marked
