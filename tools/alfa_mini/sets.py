"""What is learnt from: nine sets of photographs and drawn surfaces, and which pictures of them are taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from alfa.images import list_images, read_image
from tools.alfa_mini.defects import KINDS, Image, render
from tools.alfa_mini.surfaces import FAMILIES, draw

_WORKING_SIDE = 448
_VARIED_SIDE = 320
_SMALLEST_CROP = 0.35
_RECOLOURED = 0.7
_GREY = 0.25
# Pictures made from photographs, and drawn ones, beside photographs.
_DERIVED_WEIGHT = 0.5


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


# What the drawn families are called.
FAMILY_CLASSES: dict[str, tuple[str, ...]] = {
    "brushed": ("brushed metal surface", "sheet of steel"),
    "cast": ("cast surface", "stone surface", "ceramic surface"),
    "granite": ("granite", "stone"),
    "weave": ("woven fabric", "canvas"),
    "grooves": ("ribbed surface", "machined surface"),
    "mesh": ("wire mesh", "net"),
    "wood": ("wooden board", "wood"),
    "leather": ("leather", "hide"),
    "tiles": ("tiled surface", "brickwork"),
    "smooth": ("painted surface", "plastic surface", "glass pane"),
    "printed": ("printed board", "electronic board"),
    "disc": ("disc", "ring", "washer"),
    "plate": ("metal plate", "bracket"),
    "star": ("gear", "cog", "nut"),
    "pieces": ("set of small parts", "tray of parts"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image to learn from.

    Attributes:
        image: RGB.
        abnormal: whether a defect is on it.
        kinds: kinds of defect on it.
        mask: (H, W), 1 where defective; None where that is not known.
        rendered: whether the defect is.
    """

    image: Image
    abnormal: bool
    kinds: tuple[str, ...]
    mask: Image | None
    rendered: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sample comes from; reading, drawing and rendering wait until it is needed.

    Attributes:
        path: the photograph; None for a drawn surface.
        family: of the drawn surface.
        folder: test folder of a real defect, `good` otherwise.
        mask_path: ground truth of a real defect.
        rendered_kind: defect to render, empty for none.
        donor: photograph that gives material for foreign bodies.
        seed: of drawing, variation and rendering.
        varied: whether the photograph is shown in another crop, turn, colour and light.
        kinds: kinds of a real defect.
    """

    path: Path | None
    family: str = ""
    folder: str = "good"
    mask_path: Path | None = None
    rendered_kind: str = ""
    donor: Path | None = None
    seed: int = 0
    varied: bool = False
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Domain:
    """Pictures of one origin that are compared with each other.

    Attributes:
        name: `photographs`, `varied` or `drawn`, and the set or family.
        training_set: the set's folder, empty for a drawn family; what leave-one-out leaves out.
        classes: what the part is called.
        weight: beside the other domains.
        sources: the pictures.
    """

    name: str
    training_set: str
    classes: tuple[str, ...]
    weight: float
    sources: tuple[Source, ...]


def domains(data: Path, per_kind: int, pairs: int, seed: int) -> list[Domain]:
    """All that is learnt from.

    Args:
        data: the folder that holds the sets.
        per_kind: most photographs of each kind of one set.
        pairs: good pictures and their twins with a rendered defect, of each set varied and of each family.
        seed: of every choice.
    """
    rng = np.random.default_rng(seed)
    goods = [_spread(_good_images(data / each.name), per_kind) for each in SETS]
    found = []
    for group, each in enumerate(SETS):
        photographs = tuple(_of_set(data, group, goods, per_kind, rng))
        varied = tuple(_pairs(group, goods, pairs, rng))
        found.append(Domain(f"photographs {each.name}", each.name, each.classes, 1.0, photographs))
        found.append(Domain(f"varied {each.name}", each.name, each.classes, _DERIVED_WEIGHT, varied))
    for number, family in enumerate(FAMILIES):
        drawn = tuple(_drawn(number, family, pairs, rng))
        found.append(Domain(f"drawn {family}", "", FAMILY_CLASSES[family], _DERIVED_WEIGHT, drawn))
    return found


def read(source: Source) -> Sample:
    """Read or draw, and render where the source says so."""
    rng = np.random.default_rng(source.seed)
    image = draw(source.family, rng) if source.path is None else _shrunk(read_image(source.path))
    if source.rendered_kind:
        donor_rng = np.random.default_rng(source.seed + 1)
        if source.path is not None:
            image = vary(image, rng) if source.varied else _turned(image, int(rng.integers(4)))
        donor = _donor(source, donor_rng, (image.shape[1], image.shape[0]))
        image, mask = render(image, donor, source.rendered_kind, rng)
        return Sample(image, True, (source.rendered_kind,), mask, True)
    if source.varied:
        image = vary(image, rng)
    if source.folder == "good":
        return Sample(image, False, (), np.zeros(image.shape[:2], np.uint8), False)
    return Sample(image, True, source.kinds, _mask(source.mask_path, image), False)


def _donor(source: Source, rng: np.random.Generator, size: tuple[int, int]) -> Image:
    if source.donor is not None:
        return cv2.resize(read_image(source.donor), size)  # type: ignore[no-any-return]
    return cv2.resize(draw(str(rng.choice(FAMILIES)), rng), size)  # type: ignore[no-any-return]


def _drawn(number: int, family: str, pairs: int, rng: np.random.Generator) -> Iterator[Source]:
    """The seed fixes the surface, so that both of a pair show the same one."""
    for pair in range(pairs):
        seed = int(rng.integers(2**31))
        yield Source(None, family, seed=seed)
        yield Source(None, family, rendered_kind=KINDS[(pair + number) % len(KINDS)], seed=seed)


def _of_set(
    data: Path, group: int, goods: list[list[Path]], per_kind: int, rng: np.random.Generator
) -> Iterator[Source]:
    each = SETS[group]
    for path in goods[group]:
        yield Source(path)
    for folder, kinds in each.defects.items():
        paths = list_images(data / each.name / "test" / folder)
        for path in _spread(paths, max(1, per_kind // len(each.defects))):
            mask = data / each.name / "ground_truth" / folder / f"{path.stem}_mask.png"
            known = mask if folder in each.masked else None
            yield Source(path, folder=folder, mask_path=known, kinds=kinds)
    others = _others(group, goods)
    for number in range(per_kind):
        good = goods[group][number % len(goods[group])]
        kind = KINDS[(number + group) % len(KINDS)]
        donor = others[int(rng.integers(len(others)))]
        yield Source(good, rendered_kind=kind, donor=donor, seed=int(rng.integers(2**31)))


def _pairs(group: int, goods: list[list[Path]], count: int, rng: np.random.Generator) -> Iterator[Source]:
    """The seed fixes the variation, so both of a pair show the same place in the same light."""
    others = _others(group, goods)
    for number in range(count):
        path = goods[group][int(rng.integers(len(goods[group])))]
        donor = others[int(rng.integers(len(others)))]
        seed = int(rng.integers(2**31))
        yield Source(path, seed=seed, varied=True)
        kind = KINDS[number % len(KINDS)]
        yield Source(path, rendered_kind=kind, donor=donor, seed=seed, varied=True)


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
