"""AnomalyDINO's scoring by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from alfa.features import ImageFeatures
from benchmarks.quality.peers.anomaly_dino import few_shot, gather_patches

FeatureMaker = Callable[..., ImageFeatures]

_EAST = torch.tensor([1.0, 0.0])


def _at_cosine(*cosines: float) -> torch.Tensor:
    """(1, N, 2) unit vectors at these cosines from east."""
    east = torch.tensor(cosines)
    return torch.stack([east, (1 - east**2).sqrt()], dim=1)[None]


def test_the_map_is_the_cosine_distance_to_the_nearest(make_features: FeatureMaker) -> None:
    """1 - cos: 0 in the same direction, 1 at a right angle, 2 opposite."""
    features = make_features(1, 3, patches=_at_cosine(1.0, 0.0, -1.0))
    assert few_shot(features, _EAST[None]).patch_map[0].tolist() == pytest.approx([0.0, 1.0, 2.0])


def test_an_image_scores_the_mean_of_its_top_hundredth(make_features: FeatureMaker) -> None:
    """Of 200 patches the two furthest, 0.4 and 0.2, give 0.3."""
    patches = _at_cosine(*[1.0] * 198, 0.6, 0.8)
    assert few_shot(make_features(10, 20, patches=patches), _EAST[None]).image.tolist() == pytest.approx(
        [0.3]
    )


def test_a_small_grid_scores_by_its_furthest_patch(make_features: FeatureMaker) -> None:
    """One percent of four patches is none; one is taken."""
    features = make_features(2, 2, patches=_at_cosine(1.0, 1.0, 0.6, 0.9))
    assert few_shot(features, _EAST[None]).image.tolist() == pytest.approx([0.4])


def test_patches_of_every_reference_are_searched(make_features: FeatureMaker) -> None:
    """Each patch is known from another of two references of different shapes."""
    first = make_features(1, 1, patches=_at_cosine(1.0))
    second = make_features(1, 2, patches=_at_cosine(0.0, 0.6))
    features = make_features(1, 2, patches=_at_cosine(1.0, 0.0))
    distances = few_shot(features, gather_patches([first, second])).patch_map
    assert distances[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
