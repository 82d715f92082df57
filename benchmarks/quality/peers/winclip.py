"""WinCLIP and WinCLIP+ ("Zero-/Few-Shot Anomaly Classification and Segmentation", CVPR 2023), re-stated.

Windows, text and patch tokens come from our backbone; the scoring is WinCLIP's: one pair of class prototypes
for all images, no prompt adaptation, no aligner, the image's own score as one more scale of the zero-shot
map, and few-shot the mean distance to the reference features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from alfa.adaptation import TextEncoder
from alfa.distances import nearest_distance
from alfa.evaluation.variants import UndividedScores
from alfa.features import ImageFeatures
from alfa.scoring import softmax_score
from alfa.windows import harmonic_aggregate, harmonic_mean_levels
from benchmarks.quality.peers.compositional_prompts import compositional_prompts

# What CLIP's own learnt logit scale is clipped to (100); models published by open_clip reach it.
CLIP_TEMPERATURE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """Features of the k good images (WinCLIP's reference memories R).

    Attributes:
        windows: per scale, (M_s, d) unit.
        patches: (M, c) unit.
    """

    windows: tuple[Tensor, ...]
    patches: Tensor


def class_direction(encoder: TextEncoder, class_name: str) -> Tensor:
    """c- - c+: the difference of the two unit class prototypes, (d,).

    A softmax over two classes needs no more of them than this.
    """
    normal, abnormal = (
        functional.normalize(encoder.encode_text(prompts).mean(dim=0), dim=0)
        for prompts in compositional_prompts(class_name)
    )
    return abnormal - normal


def gather_references(features: Sequence[ImageFeatures]) -> References:
    """The reference memories of one or several batches of good images, of any grids."""
    levels = zip(*(batch.windows for batch in features), strict=True)
    return References(
        windows=tuple(torch.cat([windows.flatten(0, 1) for windows in level]) for level in levels),
        patches=torch.cat([batch.patches.flatten(0, 1) for batch in features]),
    )


def zero_shot(features: ImageFeatures, direction: Tensor, temperature: float) -> UndividedScores:
    """WinCLIP: the image's softmax score; per patch the harmonic mean of small, middle and image scale.

    Args:
        features: a batch of B images with windows; WinCLIP has those of scales 2 and 3.
        direction: c- - c+, (d,), from `class_direction`.
        temperature: tau of the softmax.
    """
    image = softmax_score(features.image @ direction, temperature)
    whole = image[:, None].expand(-1, features.grid.patches)
    windows = [
        harmonic_aggregate(softmax_score(level @ direction, temperature), layout)
        for level, layout in zip(features.windows, features.layouts, strict=True)
    ]
    return UndividedScores(image=image, patch_map=harmonic_mean_levels([whole, *windows]))


def reference_association(features: ImageFeatures, references: References) -> Tensor:
    """WinCLIP+'s map M^W, (B, P): mean of patch, small and middle scale distances to the references.

    A distance is half of 1 - cos to the nearest; those of windows go to patches by harmonic aggregation.
    """
    windows = [
        harmonic_aggregate(nearest_distance(level, rows), layout)
        for level, rows, layout in zip(features.windows, references.windows, features.layouts, strict=True)
    ]
    patches = nearest_distance(features.patches, references.patches)
    return torch.stack([patches, *windows]).mean(dim=0)


def few_shot(
    features: ImageFeatures,
    direction: Tensor,
    references: References,
    temperature: float,
) -> UndividedScores:
    """WinCLIP+: the means of the text score and max M^W, and of the text map and M^W.

    Args:
        features: a batch of B images.
        direction: c- - c+, (d,), from `class_direction`.
        references: of the k good images.
        temperature: tau of the softmax.
    """
    text = zero_shot(features, direction, temperature)
    association = reference_association(features, references)
    return UndividedScores(
        image=(text.image + association.amax(dim=1)) / 2,
        patch_map=(text.patch_map + association) / 2,
    )
