"""How well scores and maps tell defective from good."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


def image_auroc(abnormal: Sequence[bool], scores: Sequence[float]) -> float:
    """Chance that a defective image scores higher than a good one, ties counted half.

    Raises:
        ValueError: not both kinds of image are there.
    """
    return _auroc(np.asarray(abnormal, bool), np.asarray(scores))


def pixel_auroc(masks: Sequence[Mask], maps: Sequence[Map]) -> float:
    """The same over all pixels of all images, at the resolution of the maps.

    Args:
        masks: (H, W) each, of any size; brought to the map's by area, so that thin defects do not vanish.
        maps: (h, w) each.

    Raises:
        ValueError: no pixel, or every pixel, is defective.
    """
    truth = np.concatenate(
        [_at_size(mask, each.shape).ravel() for mask, each in zip(masks, maps, strict=True)]
    )
    return _auroc(truth, np.concatenate([each.astype(np.float32).ravel() for each in maps]))


def _auroc(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    # scikit-learn only warns here and returns a number that is none.
    if truth.all() or not truth.any():
        raise ValueError("AUROC of one kind only: both good and defective are needed")
    return float(roc_auc_score(truth, scores))


def _at_size(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """A pixel of the map is defective where half of it is; a mask too thin for that keeps its best pixels."""
    fractions = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    threshold = min(0.5, float(fractions.max()))
    marked: Mask = fractions >= threshold if threshold > 0 else fractions > 0
    return marked
