"""Our re-statement of WinCLIP against anomalib's own functions, where the `peers` extra is installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alfa.features import ImageFeatures
from benchmarks.quality.peers import winclip

anomalib = pytest.importorskip(
    "anomalib.models.image.winclip.utils", reason="anomalib is not installed (the `peers` extra)"
)

FeatureMaker = Callable[..., ImageFeatures]

_ROWS, _COLS = 5, 7
_SCALES = (2, 3)
_TEMPERATURE = 0.07


def _theirs(queries: ImageFeatures, references: ImageFeatures, text: Tensor) -> tuple[Tensor, ...]:
    """Zero-shot image score and map, few-shot image score and map, put together as anomalib's model does."""
    size = (_ROWS, _COLS)
    masks = [anomalib.make_masks(size, scale, 1) for scale in _SCALES]

    def text_score(embeddings: Tensor) -> Tensor:
        scored: Tensor = anomalib.class_scores(embeddings, text, _TEMPERATURE, target_class=1)
        return scored

    def to_map(scores: Tensor, mask: Tensor) -> Tensor:
        spread: Tensor = anomalib.harmonic_aggregation(scores, size, mask)
        return spread

    image = text_score(queries.image)
    text_maps = [to_map(text_score(level), mask) for level, mask in zip(queries.windows, masks, strict=True)]
    whole = image.view(-1, 1, 1).repeat(1, *size)
    text_map = (len(_SCALES) + 1) / (1 / torch.stack([whole, *text_maps])).sum(dim=0)
    levels = zip(queries.windows, references.windows, masks, strict=True)
    distance_maps = [
        to_map(anomalib.visual_association_score(level, rows), mask) for level, rows, mask in levels
    ]
    patches = anomalib.visual_association_score(queries.patches, references.patches).reshape(-1, *size)
    distances = torch.stack([patches, *distance_maps]).mean(dim=0)
    few_shot_image = (image + distances.amax(dim=(-2, -1))) / 2
    return image, text_map.flatten(1), few_shot_image, ((text_map + distances) / 2).flatten(1)


@pytest.mark.parametrize("seed", range(3))
def test_scores_and_maps_are_anomalibs(make_features: FeatureMaker, seed: int) -> None:
    """Random features, text and references: the same numbers, zero-shot and few-shot."""
    queries = make_features(_ROWS, _COLS, scales=_SCALES, count=3, seed=seed)
    references = make_features(_ROWS, _COLS, scales=_SCALES, count=2, seed=seed + 100)
    text = functional.normalize(torch.randn(2, 4, generator=torch.Generator().manual_seed(seed)), dim=1)
    direction = text[1] - text[0]
    zero_shot = winclip.zero_shot(queries, direction, _TEMPERATURE)
    memories = winclip.gather_references([references])
    few_shot = winclip.few_shot(queries, direction, memories, _TEMPERATURE)
    ours = (zero_shot.image, zero_shot.patch_map, few_shot.image, few_shot.patch_map)
    for mine, theirs in zip(ours, _theirs(queries, references, text), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
