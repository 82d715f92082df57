"""One class judged as the paper does: every test image scored, AUROC over images and pixels (Sec. 5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alfa.evaluation.baselines import BASELINES
from alfa.evaluation.datasets import LabelledImage
from alfa.evaluation.metrics import PixelHistogram, Truth, image_metrics
from alfa.files import file_hash
from alfa.images import RgbImage
from alfa.inspector import Inspector
from alfa.memory import DEFAULT_CAP, MemoryBank

Batches = Iterable[tuple[Sequence[Path], Sequence[RgbImage]]]


@dataclass(frozen=True, slots=True)
class Result:
    """AUROC of one way of scoring.

    Attributes:
        name: the way.
        image: over images.
        pixel: over the pixels of the images whose truth is known; None where there is no map or no mask.
    """

    name: str
    image: float
    pixel: float | None


@dataclass(slots=True)
class _Scored:
    """What one way of scoring gave, image by image; no maps where it has none of its own."""

    scores: list[float] = field(default_factory=list)
    maps: list[NDArray[np.floating]] = field(default_factory=list)


def teach(inspector: Inspector, batches: Batches) -> Inspector:
    """The same inspector with a memory bank of these good images (few-shot)."""
    backbone, recipe = inspector.backbone, inspector.recipe
    hashes: list[str] = []
    features = []
    for paths, pictures in batches:
        hashes += [file_hash(path) for path in paths]
        features += [encoded for _, encoded in backbone.encode(pictures)]
    bank = MemoryBank.build(features, backbone, hashes, DEFAULT_CAP)
    taught = replace(recipe, bank=bank, binding=replace(recipe.binding, bank_hash=bank.content_hash))
    return Inspector(backbone, taught, inspector.settings)


def evaluate(inspector: Inspector, images: Sequence[LabelledImage], batches: Batches) -> list[Result]:
    """Score the images with the method, with each half of its score, and with the trivial baselines.

    Args:
        inspector: the method.
        images: labelled, good and defective ones.
        batches: the same images, read, in the same order.
    """
    scored: defaultdict[str, _Scored] = defaultdict(_Scored)
    for _, pictures in batches:
        for inspection, picture in zip(inspector.inspect(pictures), pictures, strict=True):
            scored["ALFA"].scores.append(inspection.score)
            scored["ALFA"].maps.append(inspection.anomaly_map)
            scored["S_G alone"].scores.append(inspection.s_global)
            scored["max S_L alone"].scores.append(inspection.s_local_max)
            for name, baseline in BASELINES.items():
                scored[name].maps.append(baseline(picture))
                scored[name].scores.append(float(scored[name].maps[-1].mean()))
    masks = [image.read_mask() for image in images]
    return [_result(name, each, images, masks) for name, each in scored.items()]


def _result(
    name: str,
    scored: _Scored,
    images: Sequence[LabelledImage],
    masks: Sequence[NDArray[np.bool_] | None],
) -> Result:
    pixels = PixelHistogram()
    for mask, each in zip(masks, scored.maps, strict=False):
        if mask is not None:
            pixels.update(each, Truth.of(mask))
    known = pixels.metrics()
    image = image_metrics([image.abnormal for image in images], scored.scores).auroc
    return Result(name, image, None if known is None else known.auroc)
