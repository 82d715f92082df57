"""PatchCore ("Towards Total Recall in Industrial Anomaly Detection", CVPR 2022), re-stated on our tower.

Patch tokens of the middle blocks averaged with their neighbours, a greedy coreset of those of the good
images, Euclidean distance to the nearest, and the image score of its Eq. 7: the greatest distance, weighted
by how lonely the row is that it was measured to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from alfa.coreset import greedy_coreset
from alfa.evaluation.variants import UndividedScores
from alfa.features import ImageFeatures

CORESET_SHARE = 0.1
_NEIGHBOURHOOD = 3
# b of Eq. 7, which the paper leaves open; anomalib's default.
_SUPPORT = 9


def locally_aware(features: ImageFeatures) -> Tensor:
    """Patch tokens averaged over 3 x 3 neighbours, (B, P, c), all middle levels side by side in c.

    A tower without middle levels gives its last one. Beyond the edge there are zeros, as in the original.
    """
    grid = features.grid
    levels = torch.cat(features.middle or (features.patches,), dim=2)
    planes = levels.transpose(1, 2).reshape(len(levels), -1, grid.rows, grid.cols)
    pooled = functional.avg_pool2d(planes, _NEIGHBOURHOOD, stride=1, padding=_NEIGHBOURHOOD // 2)
    return pooled.flatten(2).transpose(1, 2)


def coreset(features: Sequence[ImageFeatures], seed: int = 0) -> Tensor:
    """A greedy coreset of a tenth of the good images' patches, (M, c)."""
    rows = torch.cat([locally_aware(batch).flatten(0, 1) for batch in features])
    return greedy_coreset(rows, max(1, round(CORESET_SHARE * len(rows))), seed)


def few_shot(features: ImageFeatures, rows: Tensor) -> UndividedScores:
    """Euclidean distance to the nearest row per patch; the re-weighted greatest one per image (Eq. 6-7).

    Args:
        features: a batch of B images.
        rows: (M, c), from `coreset`.
    """
    patches = locally_aware(features)
    distances, nearest = torch.cdist(patches, rows).min(dim=2)
    greatest, worst = distances.max(dim=1, keepdim=True)
    weight = _loneliness(
        patch=patches.take_along_dim(worst[..., None], dim=1),
        row=rows[nearest.take_along_dim(worst, dim=1)],
        distance=greatest,
        rows=rows,
    )
    return UndividedScores(image=(weight * greatest).squeeze(1), patch_map=distances)


def _loneliness(patch: Tensor, row: Tensor, distance: Tensor, rows: Tensor) -> Tensor:
    """The weight of Eq. 7, (B, 1): 1 - exp(s*) over the sum of exp(distance) to the rows nearest to m*.

    Args:
        patch: m_test, (B, 1, c).
        row: m*, the row nearest to it, (B, 1, c).
        distance: s*, between the two, (B, 1).
        rows: the coreset, (M, c).
    """
    count = min(_SUPPORT, len(rows))
    if count == 1:
        # m* has no neighbour but itself: Eq. 7 would give 0 whatever the patch looks like.
        return torch.ones_like(distance)
    support = rows[torch.cdist(row, rows).topk(count, dim=2, largest=False).indices.squeeze(1)]
    return 1 - torch.exp(distance - torch.cdist(patch, support).logsumexp(dim=2))
