"""The whole method: a batch of images becomes a batch of inspections (Sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alfa.adaptation import AdaptedPrompts, adapt
from alfa.aligner import aligner, local_logits
from alfa.backbone import Backbone
from alfa.features import ImageFeatures
from alfa.recipe import Recipe
from alfa.region import Region, region_above
from alfa.scoring import global_score, highest, image_score, local_map
from alfa.settings import ModelSettings, uses_windows
from alfa.windows import to_pixels

REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reason:
    """A descriptor that fits the image (Sec. 5.4).

    Attributes:
        text: the descriptor.
        similarity: its cosine with the image.
    """

    text: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """What the method says of one image.

    Attributes:
        score: S (Eq. 12).
        threshold: of the score; 0.5 without calibration.
        calibrated: whether the threshold comes from good images.
        anomalous: whether the score is above the threshold, or is not a number.
        s_global: S_G (Eq. 10).
        s_local_max: max S_L: mean of the map's highest patches, distances to the bank included.
        anomaly_map: (h, w) float16 at model resolution.
        region: where the map is above its threshold, in pixels of the image as captured.
        reasons: the descriptors nearest to the image, best first, at most five.
        kept_normal: how many normal prompts the adaptation kept.
        kept_abnormal: how many abnormal ones.
        side_was_empty: whether a side would have lost all its prompts and kept them all instead.
        finite: whether features, score and map are finite; where not, the image is not judged.
    """

    score: float
    threshold: float
    calibrated: bool
    anomalous: bool
    s_global: float
    s_local_max: float
    anomaly_map: NDArray[np.float16]
    region: Region | None
    reasons: tuple[Reason, ...]
    kept_normal: int
    kept_abnormal: int
    side_was_empty: bool
    finite: bool


class Inspector:
    """Backbone, recipe and settings in one: images in, inspections out."""

    def __init__(self, backbone: Backbone, recipe: Recipe, settings: ModelSettings) -> None:
        self.backbone = backbone
        self.recipe = recipe
        self.settings = settings

    @classmethod
    def load(
        cls,
        prompts: Path,
        bank: Path | None = None,
        calibration: Path | None = None,
        settings: ModelSettings | None = None,
    ) -> Inspector:
        """Load the model and the files of one line.

        Raises:
            BadInput: a file or setting is wrong, or they do not belong together.
        """
        settings = settings or ModelSettings()
        backbone = Backbone.load(settings)
        return cls(backbone, Recipe.load(backbone, prompts, bank, calibration, settings=settings), settings)

    def inspect(self, images: Sequence[NDArray[np.uint8]]) -> list[Inspection]:
        """Judge images (H, W, 3) RGB uint8 of any size, as one batch."""
        inspections: dict[int, Inspection] = {}
        for positions, features in self.backbone.encode(images):
            sizes = [images[position].shape[:2] for position in positions]
            inspections.update(
                zip(positions, judge(features, self.recipe, self.settings, sizes), strict=True)
            )
        return [inspections[position] for position in range(len(images))]


@torch.inference_mode()
def judge(
    features: ImageFeatures, recipe: Recipe, settings: ModelSettings, sizes: Sequence[tuple[int, int]]
) -> list[Inspection]:
    """Judge a batch of encoded images of one line; pure.

    Args:
        features: of B images.
        recipe: the line's prompts, bank and calibration.
        settings: the method's numbers.
        sizes: (height, width) of each image as captured.
    """
    scores = score(features, recipe, settings)
    map_size = (features.grid.rows * recipe.patch_size, features.grid.cols * recipe.patch_size)
    results = _to_host(
        scores=torch.stack([scores.image, scores.s_global, scores.s_local_max], dim=1),
        maps=to_pixels(scores.patch_map, features.grid, map_size).half(),
        descriptors=features.image @ recipe.text.descriptors.T,
        adapted=scores.adapted,
        finite=_finite(features),
    )
    return [_inspection(results, index, recipe, size) for index, size in enumerate(sizes)]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The method's numbers of a batch of B images.

    Attributes:
        image: S (Eq. 12), (B,).
        s_global: S_G (Eq. 10), (B,).
        s_local_max: max S_L: mean of the map's highest patches, (B,).
        patch_map: (B, P) on the features' grid, distances to the bank included.
        adapted: the text vectors and which prompts were kept.
    """

    image: Tensor
    s_global: Tensor
    s_local_max: Tensor
    patch_map: Tensor
    adapted: AdaptedPrompts


@torch.inference_mode()
def score(features: ImageFeatures, recipe: Recipe, settings: ModelSettings) -> Scores:
    """Score a batch of encoded images; pure, so that variants can be compared on the same features.

    Args:
        features: of B images.
        recipe: prompts and bank.
        settings: the method's numbers.
    """
    adapted = adapt(
        features.image,
        recipe.text,
        settings.contextual_k,
        settings.contextual,
        settings.contextual_quantile,
    )
    s_global = global_score(features.image, adapted, settings.temperature)
    patch_map = _patch_map(features, adapted, recipe, settings)
    s_local_max = highest(patch_map, settings.top_share)
    return Scores(image_score(s_global, s_local_max), s_global, s_local_max, patch_map, adapted)


def _patch_map(
    features: ImageFeatures, adapted: AdaptedPrompts, recipe: Recipe, settings: ModelSettings
) -> Tensor:
    """(B, P): S_L averaged over scales (Sec. 4.3), with the bank's distances on top where there is one."""
    if len(features.layouts) != len(features.windows):
        raise ValueError("features do not say which windows they have")
    logits = local_logits(features, adapted, aligner(settings.aligner), settings.local)
    windows = uses_windows(settings.local, features.patch_joint is not None)
    patch_map = local_map(logits, features.layouts if windows else (), settings.temperature)
    if recipe.bank is None:
        return patch_map
    return patch_map + settings.bank_weight * recipe.bank.distances(features, settings.bank_foreground)


@dataclass(frozen=True, slots=True, eq=False)
class _Results:
    """A batch's results on the host, so that the device is waited for once a batch and not once a value."""

    scores: NDArray[np.float32]  # (B, 3): S, S_G, max S_L
    maps: NDArray[np.float16]  # (B, h, w)
    reasons: NDArray[np.int64]  # (B, k), the nearest descriptors, best first
    similarities: NDArray[np.float32]  # (B, k), theirs
    kept: NDArray[np.int64]  # (B, 2): normal, abnormal
    side_was_empty: NDArray[np.bool_]  # (B,)
    finite: NDArray[np.bool_]  # (B,)


def _finite(features: ImageFeatures) -> Tensor:
    """(B,) bool. Asked of the features: a sigmoid turns an infinite logit into a score that looks sound.

    Of a sum, which is finite where all its terms are: they are coordinates of unit rows and cannot overflow.
    """
    parts = [features.image, *features.windows, *features.middle, features.patches]
    if features.patch_joint is not None:
        parts.append(features.patch_joint)
    return torch.isfinite(torch.stack([part.flatten(1).sum(dim=1) for part in parts])).all(dim=0)


def _to_host(
    scores: Tensor, maps: Tensor, descriptors: Tensor, adapted: AdaptedPrompts, finite: Tensor
) -> _Results:
    similarities, reasons = descriptors.topk(min(REASONS_SHOWN, descriptors.shape[1]), dim=1)
    kept = torch.stack([adapted.kept_normal.sum(dim=1), adapted.kept_abnormal.sum(dim=1)], dim=1)
    finite = finite & torch.isfinite(scores).all(dim=1) & torch.isfinite(maps).flatten(1).all(dim=1)
    return _Results(
        scores=scores.cpu().numpy(),
        maps=maps.cpu().numpy(),
        reasons=reasons.cpu().numpy(),
        similarities=similarities.cpu().numpy(),
        kept=kept.cpu().numpy(),
        side_was_empty=(adapted.normal_was_empty | adapted.abnormal_was_empty).cpu().numpy(),
        finite=finite.cpu().numpy(),
    )


def _inspection(results: _Results, index: int, recipe: Recipe, size: tuple[int, int]) -> Inspection:
    score, s_global, s_local_max = results.scores[index].tolist()
    finite = bool(results.finite[index])
    kept_normal, kept_abnormal = results.kept[index].tolist()
    nearest = zip(results.reasons[index].tolist(), results.similarities[index].tolist(), strict=True)
    return Inspection(
        score=score,
        threshold=recipe.score_threshold,
        calibrated=recipe.calibration is not None,
        # Not `score > threshold`: a score that is not a number must never read as good.
        anomalous=not (finite and score <= recipe.score_threshold),
        s_global=s_global,
        s_local_max=s_local_max,
        anomaly_map=results.maps[index],
        region=region_above(results.maps[index], recipe.map_threshold, size),
        reasons=tuple(Reason(recipe.prompt_set.descriptors[i], cosine) for i, cosine in nearest),
        kept_normal=kept_normal,
        kept_abnormal=kept_abnormal,
        side_was_empty=bool(results.side_was_empty[index]),
        finite=finite,
    )
