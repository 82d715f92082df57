"""AnomalyDINO ("Boosting Patch-based Few-shot Anomaly Detection with DINOv2", WACV 2025), re-stated.

Patch tokens of the last block against those of the good images, by cosine; nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alfa.distances import nearest_distance
from alfa.evaluation.variants import UndividedScores
from alfa.features import ImageFeatures

_TOP_SHARE = 0.01


def gather_patches(features: Sequence[ImageFeatures]) -> Tensor:
    """The patch tokens of the good images, (M, c) unit, of any grids."""
    return torch.cat([batch.patches.flatten(0, 1) for batch in features])


def few_shot(features: ImageFeatures, rows: Tensor) -> UndividedScores:
    """1 - cos to the nearest row per patch; an image's score is the mean of its greatest 1 %.

    Args:
        features: a batch of B images.
        rows: (M, c) unit, from `gather_patches`.
    """
    # `nearest_distance` halves it.
    distances = 2 * nearest_distance(features.patches, rows)
    count = max(1, int(_TOP_SHARE * distances.shape[1]))
    return UndividedScores(image=distances.topk(count, dim=1).values.mean(dim=1), patch_map=distances)
