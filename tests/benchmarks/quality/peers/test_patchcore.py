"""PatchCore's scoring by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from alfa.features import ImageFeatures
from benchmarks.quality.peers.patchcore import coreset, few_shot, locally_aware

FeatureMaker = Callable[..., ImageFeatures]


def _constant(rows: int, cols: int, value: float) -> torch.Tensor:
    """(1, rows * cols, 1) patches."""
    return torch.full((1, rows * cols, 1), value)


def test_a_patch_is_averaged_with_its_neighbours(make_features: FeatureMaker) -> None:
    """A single 9 in the middle of 3 x 3 zeros is 1 in all nine, for every one sees it."""
    patches = torch.zeros(1, 9, 1)
    patches[0, 4] = 9
    assert locally_aware(make_features(3, 3, patches=patches)).flatten().tolist() == pytest.approx([1.0] * 9)


def test_beyond_the_edge_there_are_zeros(make_features: FeatureMaker) -> None:
    """Of ones in 3 x 3, a corner sees four of nine, an edge six, the middle all."""
    pooled = locally_aware(make_features(3, 3, patches=_constant(3, 3, 1.0)))
    expected = [4, 6, 4, 6, 9, 6, 4, 6, 4]
    assert (9 * pooled.flatten()).tolist() == pytest.approx(expected)


def test_neighbours_follow_the_grid(make_features: FeatureMaker) -> None:
    """In one long row only left and right are neighbours."""
    patches = torch.tensor([[[9.0], [0.0], [0.0], [0.0]]])
    pooled = locally_aware(make_features(1, 4, patches=patches))
    assert pooled.flatten().tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0])


def test_middle_levels_stand_side_by_side_in_place_of_the_last(make_features: FeatureMaker) -> None:
    """One patch with 9 and 18 at the two middle levels: after pooling over zeros (1, 2)."""
    middle = (_constant(1, 1, 9.0), _constant(1, 1, 18.0))
    features = make_features(1, 1, patches=_constant(1, 1, -9.0), middle=middle)
    assert locally_aware(features).flatten().tolist() == pytest.approx([1.0, 2.0])


def test_the_coreset_keeps_a_tenth(make_features: FeatureMaker) -> None:
    """Two references of 50 patches leave ten rows."""
    assert coreset([make_features(5, 10, count=2)]).shape == (10, 4)


def test_a_tiny_reference_keeps_one_row(make_features: FeatureMaker) -> None:
    """A tenth of four patches would be none."""
    assert coreset([make_features(2, 2)]).shape == (1, 4)


def test_the_map_is_the_euclidean_distance_to_the_nearest_row(make_features: FeatureMaker) -> None:
    """A lone patch of 9 becomes 1 by pooling over zeros; rows at 0 and 3: distance 1."""
    scores = few_shot(make_features(1, 1, patches=_constant(1, 1, 9.0)), torch.tensor([[0.0], [3.0]]))
    assert scores.patch_map[0].tolist() == pytest.approx([1.0])


def test_the_image_score_weighs_how_lonely_the_nearest_row_is(make_features: FeatureMaker) -> None:
    """Eq. 7 with s* = 1 and rows at distances 1 and 2 from the patch: (1 - e / (e + e^2)) * 1."""
    scores = few_shot(make_features(1, 1, patches=_constant(1, 1, 9.0)), torch.tensor([[0.0], [3.0]]))
    assert scores.image.tolist() == pytest.approx([1 - math.e / (math.e + math.e**2)])


def test_only_the_nine_rows_nearest_to_the_nearest_count(make_features: FeatureMaker) -> None:
    """A row far beyond nine others changes nothing."""
    near = torch.arange(9.0)[:, None] / 10
    features = make_features(1, 1, patches=_constant(1, 1, -9.0))
    far = few_shot(features, torch.cat([near, torch.tensor([[50.0]])]))
    assert far.image.tolist() == pytest.approx(few_shot(features, near).image.tolist())


def test_a_single_row_leaves_the_distance_as_it_is(make_features: FeatureMaker) -> None:
    """Without neighbours there is nothing to weigh by; a score of zero for all would tell nothing."""
    scores = few_shot(make_features(1, 1, patches=_constant(1, 1, 9.0)), torch.tensor([[0.0]]))
    assert scores.image.tolist() == pytest.approx([1.0])


def test_each_image_of_a_batch_is_scored_alone(make_features: FeatureMaker) -> None:
    """A batch gives what its images give one by one."""
    batch = make_features(3, 4, count=3, seed=1)
    rows = coreset([make_features(6, 6, count=2, seed=2)])
    alone = torch.cat([few_shot(batch.select([index]), rows).image for index in range(3)])
    assert torch.allclose(few_shot(batch, rows).image, alone, atol=1e-6)
