"""One class judged as the paper does: every test image scored by every variant, then the figures (Sec. 5).

Judging and measuring are apart: `judge_dataset` leaves scores and patch maps in a `ResultStore`, image by
image, and `measure` reads them back, so that neither memory nor a broken run depends on the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alfa.backbone import Backbone
from alfa.errors import Fault
from alfa.evaluation.baselines import BASELINES, score_and_map
from alfa.evaluation.datasets import Dataset, LabelledImage
from alfa.evaluation.metrics import (
    Curve,
    ImageMetrics,
    PixelHistogram,
    PixelMetrics,
    Truth,
    image_metrics,
    image_pr,
    image_roc,
)
from alfa.evaluation.store import Judged, JudgedImage, ResultStore
from alfa.evaluation.variants import Read, ScoresLike, ShotBanks, Variant
from alfa.features import ImageFeatures
from alfa.files import content_hash
from alfa.images import RgbImage

# Hands the images through, showing how far the work is.
Track = Callable[[Sequence[LabelledImage], str], Iterable[LabelledImage]]

# Parts of a variant's score: S (Eq. 12), and each half of it alone.
WHOLE = "S"
GLOBAL = "S_G alone"
LOCAL = "max S_L alone"

_CURVE_POINTS = 300
_GOOD_MAP_END = 0.99

_BASELINE_IDENTITY = content_hash(b"mean of a plane of 224 x 224, map of 32 x 32")


@dataclass(frozen=True, slots=True)
class Figures:
    """One variant's figures on one class.

    Attributes:
        image: over images.
        pixel: over pixels; None where the part has no map, or no mask is known.
    """

    image: ImageMetrics
    pixel: PixelMetrics | None

    def values(self) -> dict[str, float]:
        """`image_auroc`, `pixel_pro` and so on, those that there are."""
        known = {f"image_{name}": value for name, value in _fields(self.image).items()}
        if self.pixel is not None:
            known |= {f"pixel_{name}": value for name, value in _fields(self.pixel).items()}
        return known


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report.

    Attributes:
        name: such as `zero-shot`, `4-shot` or a baseline.
        part: S, S_G alone or max S_L alone.
        repeats: figures seed by seed; one where nothing is random.
    """

    name: str
    part: str
    repeats: tuple[Figures, ...]

    def mean(self, metric: str) -> float | None:
        """Mean over the repeats; None where the row has no such figure."""
        values = self._values(metric)
        return float(np.mean(values)) if values else None

    def std(self, metric: str) -> float | None:
        """Sample standard deviation over the repeats; None with fewer than two."""
        values = self._values(metric)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def _values(self, metric: str) -> list[float]:
        found = (figures.values().get(metric) for figures in self.repeats)
        return [value for value in found if value is not None]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Of one variant on one class.

    Attributes:
        roc: true-positive over false-positive rate, by images.
        pr: precision over recall, by images.
        pixel_roc: like `roc`, by pixels; None where no mask is known.
        pro: mean overlap per region over the false-positive rate, up to 0.3; likewise.
    """

    roc: Curve
    pr: Curve
    pixel_roc: Curve | None
    pro: Curve | None


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The variant whose pictures are shown: the last one.

    Attributes:
        variant: its name.
        scores: of every test image.
        map_scale: median and 99th percentile of its map over good pixels.
    """

    variant: str
    scores: tuple[tuple[LabelledImage, float], ...]
    map_scale: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class ClassResult:
    """All that is reported of one class.

    Attributes:
        dataset: its images.
        masks: how many defective images have a known mask.
        rows: variants first, then baselines.
        curves: row -> curves of its first repeat, variants only.
        shown: what pictures are made of.
    """

    dataset: Dataset
    masks: int
    rows: tuple[Row, ...]
    curves: dict[str, Curves]
    shown: Shown


METRICS = (
    *(f"image_{each.name}" for each in fields(ImageMetrics)),
    *(f"pixel_{each.name}" for each in fields(PixelMetrics)),
)


def judge_dataset(
    dataset: Dataset,
    backbone: Backbone,
    variants: Sequence[Variant],
    store: ResultStore,
    read: Read,
    banks: ShotBanks | None = None,
) -> None:
    """Score what is not scored yet: each image is encoded once and scored by all variants and baselines.

    Args:
        dataset: the class.
        backbone: encodes the images.
        variants: ways of scoring, with distinct names.
        store: where the results go, batch by batch.
        read: reads images.
        banks: taught first, where there is anything to score.

    Raises:
        BadInput: the store holds results of another identity, or an image cannot be read.
        Fault: a score or map is not finite, or the store cannot be written.
    """
    identities = {variant.name: variant.identity for variant in variants}
    identities |= dict.fromkeys(BASELINES, _BASELINE_IDENTITY)
    store.claim(dataset, identities)
    pending = store.pending(dataset, list(identities))
    if not pending:
        return
    if banks is not None:
        banks.teach(read)
    by_path = {image.path: image for image in pending}
    for paths, pictures in read(list(by_path), f"judging {dataset.name}"):
        store.add(dataset, _judge(backbone, variants, [by_path[path] for path in paths], pictures))


def measure(dataset: Dataset, variants: Sequence[Variant], store: ResultStore, track: Track) -> ClassResult:
    """The figures of a class that was judged.

    Args:
        dataset: the class.
        variants: at least one, as they were given to `judge_dataset`; pictures are of the last.
        store: holds the results.
        track: shows progress.

    Raises:
        BadInput: a mask cannot be read.
    """
    tally = _Tally([*(variant.name for variant in variants), *BASELINES])
    for image in track(dataset.test, f"measuring {dataset.name}"):
        tally.add(store.read(dataset, image))
    rows = _by_row(variants)
    variant_rows = [
        Row(name, part, tuple(tally.figures(repeat, part) for repeat in repeats))
        for name, repeats in rows.items()
        for part in (WHOLE, GLOBAL, LOCAL)
    ]
    baselines = [Row(name, WHOLE, (tally.figures(name, WHOLE),)) for name in BASELINES]
    return ClassResult(
        dataset=dataset,
        masks=sum(image.abnormal and image.mask_known for image in dataset.test),
        rows=(*variant_rows, *baselines),
        curves={name: tally.curves(repeats[0]) for name, repeats in rows.items()},
        shown=tally.shown(variants[-1].name, dataset),
    )


def mean_over_classes(results: Sequence[ClassResult]) -> tuple[Row, ...]:
    """Rows of the mean over classes, repeat by repeat, so that the deviation is that of the mean.

    A class without known masks counts for the figures over images only.
    """
    names = {(row.name, row.part): None for result in results for row in result.rows}
    return tuple(Row(name, part, _mean_repeats(results, name, part)) for name, part in names)


def truth_of(judged: JudgedImage) -> Truth | None:
    """Where the image is defective, at the size of evaluation; None where it is not known.

    Raises:
        BadInput: the mask cannot be read.
    """
    if not judged.image.abnormal:
        return Truth.all_good(*judged.size)
    mask = judged.image.read_mask()
    return None if mask is None else Truth.of(mask)


class _Tally:
    """Scores and pixel counts of one class, by variant: constant but for a few numbers an image."""

    def __init__(self, names: Sequence[str]) -> None:
        self._abnormal: list[bool] = []
        self._scores: dict[tuple[str, str], list[float]] = {}
        self._pixels = {name: PixelHistogram() for name in names}
        self._names = names

    def add(self, judged: JudgedImage) -> None:
        truth = truth_of(judged)
        self._abnormal.append(judged.image.abnormal)
        for name in self._names:
            one = judged.by[name]
            for part, value in ((WHOLE, one.score), (GLOBAL, one.s_global), (LOCAL, one.s_local_max)):
                if value is not None:
                    self._scores.setdefault((name, part), []).append(value)
            if truth is not None:
                self._pixels[name].update(one.patch_map, truth)

    def figures(self, name: str, part: str) -> Figures:
        # The map belongs to the whole score; S_G has none, and that of max S_L is the same.
        pixel = self._pixels[name].metrics() if part == WHOLE else None
        return Figures(image_metrics(self._abnormal, self._scores[name, part]), pixel)

    def curves(self, name: str) -> Curves:
        scores, pixels = self._scores[name, WHOLE], self._pixels[name]
        has_pixels = pixels.metrics() is not None
        return Curves(
            roc=image_roc(self._abnormal, scores).thinned(_CURVE_POINTS),
            pr=image_pr(self._abnormal, scores).thinned(_CURVE_POINTS),
            pixel_roc=pixels.roc().thinned(_CURVE_POINTS) if has_pixels else None,
            pro=pixels.pro_curve().thinned(_CURVE_POINTS) if has_pixels else None,
        )

    def shown(self, name: str, dataset: Dataset) -> Shown:
        pixels = self._pixels[name]
        scores = tuple(zip(dataset.test, self._scores[name, WHOLE], strict=True))
        return Shown(name, scores, (pixels.good_quantile(0.5), pixels.good_quantile(_GOOD_MAP_END)))


def _judge(
    backbone: Backbone,
    variants: Sequence[Variant],
    images: Sequence[LabelledImage],
    pictures: Sequence[RgbImage],
) -> list[JudgedImage]:
    by: list[dict[str, Judged]] = [_judge_by_baselines(picture) for picture in pictures]
    for positions, features in backbone.encode(pictures):
        for variant in variants:
            judged = _on_grid(variant.score(features), features)
            for position, one in zip(positions, judged, strict=True):
                by[position][variant.name] = _finite(one, variant, images[position].path)
    return [
        JudgedImage(image, picture.shape[:2], each)
        for image, picture, each in zip(images, pictures, by, strict=True)
    ]


def _judge_by_baselines(picture: RgbImage) -> dict[str, Judged]:
    return {name: Judged(*score_and_map(baseline, picture)) for name, baseline in BASELINES.items()}


def _on_grid(scores: ScoresLike, features: ImageFeatures) -> list[Judged]:
    """A batch's results on the host, in one transfer each."""
    numbers = torch.stack([scores.image, scores.s_global, scores.s_local_max], dim=1).double().cpu().tolist()
    maps: NDArray[np.float16] = scores.patch_map.half().cpu().numpy()
    planes = maps.reshape(-1, features.grid.rows, features.grid.cols)
    return [
        Judged(image, plane, s_global, s_local_max)
        for (image, s_global, s_local_max), plane in zip(numbers, planes, strict=True)
    ]


def _finite(judged: Judged, variant: Variant, path: Path) -> Judged:
    if not np.isfinite(judged.score) or not np.isfinite(judged.patch_map).all():
        raise Fault("not_finite", f"{path}: {variant.name} gives a score or map that is no number")
    return judged


def _by_row(variants: Sequence[Variant]) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for variant in variants:
        rows.setdefault(variant.row, []).append(variant.name)
    return rows


def _mean_repeats(results: Sequence[ClassResult], name: str, part: str) -> tuple[Figures, ...]:
    found = [row.repeats for result in results for row in result.rows if (row.name, row.part) == (name, part)]
    return tuple(_mean_figures(figures) for figures in zip(*found, strict=True))


def _mean_figures(figures: Sequence[Figures]) -> Figures:
    pixels = [each.pixel for each in figures if each.pixel is not None]
    image = ImageMetrics(*_mean_fields([each.image for each in figures]))
    return Figures(image, PixelMetrics(*_mean_fields(pixels)) if pixels else None)


def _mean_fields(metrics: Sequence[ImageMetrics] | Sequence[PixelMetrics]) -> list[float]:
    return [float(value) for value in np.mean([list(_fields(each).values()) for each in metrics], axis=0)]


def _fields(metrics: ImageMetrics | PixelMetrics) -> dict[str, float]:
    return {each.name: getattr(metrics, each.name) for each in fields(metrics)}
