"""WinCLIP's scoring on features whose scores follow by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alfa.features import ImageFeatures
from benchmarks.quality.peers.compositional_prompts import compositional_prompts
from benchmarks.quality.peers.winclip import (
    class_direction,
    few_shot,
    gather_references,
    reference_association,
    zero_shot,
)

FeatureMaker = Callable[..., ImageFeatures]

# With this direction and temperature 1, the first coordinate of a feature is its logit.
_DIRECTION = torch.tensor([1.0, 0.0])


def _with_scores(*scores: float) -> torch.Tensor:
    """(1, N, 2) features whose softmax scores against `_DIRECTION` at temperature 1 are these."""
    return torch.tensor([[[math.log(score / (1 - score)), 0.0] for score in scores]])


def test_the_zero_shot_score_of_an_image_is_its_own_softmax(make_features: FeatureMaker) -> None:
    """A logit of ln 4 is a score of 0.8; windows do not count for it."""
    features = make_features(
        2,
        2,
        image=_with_scores(0.8)[0],
        windows=(_with_scores(0.1),),
        scales=(2,),
        patches=torch.zeros(1, 4, 2),
    )
    assert zero_shot(features, _DIRECTION, 1.0).image.tolist() == pytest.approx([0.8])


def test_temperature_divides_the_logit(make_features: FeatureMaker) -> None:
    """A cosine difference of 0.01 at temperature 0.01 is a logit of 1."""
    features = make_features(
        2, 2, image=torch.tensor([[0.01, 0.0]]), windows=(), patches=torch.zeros(1, 4, 2)
    )
    expected = 1 / (1 + math.exp(-1))
    assert zero_shot(features, _DIRECTION, 0.01).image.tolist() == pytest.approx([expected])


def test_the_image_is_one_more_scale_of_the_zero_shot_map(make_features: FeatureMaker) -> None:
    """Windows of one patch score 0.5, 0.25 and 0.2, the image 0.5: each patch gets 2 / (1/0.5 + 1/s)."""
    features = make_features(
        1,
        3,
        image=_with_scores(0.5)[0],
        windows=(_with_scores(0.5, 0.25, 0.2),),
        scales=(1,),
        patches=torch.zeros(1, 3, 2),
    )
    scores = zero_shot(features, _DIRECTION, 1.0)
    assert scores.patch_map[0].tolist() == pytest.approx([0.5, 1 / 3, 2 / 7])


def test_a_patch_takes_the_harmonic_mean_of_the_windows_over_it(make_features: FeatureMaker) -> None:
    """2x3 patches hold two 2x2 windows of 0.5 and 0.25; the middle column lies in both: 1/3 (two scales)."""
    features = make_features(
        2,
        3,
        image=_with_scores(0.5)[0],
        windows=(_with_scores(0.5, 0.25),),
        scales=(2,),
        patches=torch.zeros(1, 6, 2),
    )
    patch_map = zero_shot(features, _DIRECTION, 1.0).patch_map[0]
    # Windows alone: 0.5, 1/3, 0.25; with the image's 0.5 as one more scale:
    expected = [0.5, 2 / (2 + 3), 2 / (2 + 4)]
    assert patch_map.tolist() == pytest.approx(expected * 2)


def test_association_is_half_the_cosine_distance_to_the_nearest(
    make_features: FeatureMaker,
) -> None:
    """Right angles give 0.5, the same direction 0, the opposite one 1 unless something nearer is known."""
    patches = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]]])
    features = make_features(2, 2, image=torch.zeros(1, 2), windows=(), patches=patches)
    reference = make_features(1, 1, image=torch.zeros(1, 2), windows=(), patches=torch.tensor([[[1.0, 0.0]]]))
    association = reference_association(features, gather_references([reference]))
    assert association[0].tolist() == pytest.approx([0.0, 0.5, 1.0, 0.2], abs=1e-6)


def test_association_is_the_mean_over_patches_and_window_scales(make_features: FeatureMaker) -> None:
    """Patch distance 0.5 and window distance 1 everywhere: 0.75."""
    east, north, west = (torch.tensor(each) for each in ([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]))
    features = make_features(
        2,
        2,
        image=torch.zeros(1, 2),
        windows=(west.view(1, 1, 2),),
        scales=(2,),
        patches=north.expand(1, 4, 2),
    )
    reference = make_features(
        2, 2, image=torch.zeros(1, 2), windows=(east.view(1, 1, 2),), patches=east.expand(1, 4, 2)
    )
    association = reference_association(features, gather_references([reference]))
    assert association[0].tolist() == pytest.approx([0.75] * 4)


def test_few_shot_is_half_text_and_half_association(make_features: FeatureMaker) -> None:
    """Image: (0.8 + max M) / 2; map: (text map + M) / 2; here M is 0, 0.5, 1 and 0.2, the text map 0.8."""
    patches = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]]])
    features = make_features(2, 2, image=_with_scores(0.8)[0], windows=(), patches=patches)
    reference = make_features(1, 1, image=torch.zeros(1, 2), windows=(), patches=torch.tensor([[[1.0, 0.0]]]))
    scores = few_shot(features, _DIRECTION, gather_references([reference]), 1.0)
    assert scores.image.tolist() == pytest.approx([0.9])
    assert scores.patch_map[0].tolist() == pytest.approx([0.4, 0.65, 0.9, 0.5], abs=1e-6)


def test_references_of_several_shapes_go_together(make_features: FeatureMaker) -> None:
    """A square and a long reference: all their patches and windows are rows of one memory."""
    references = gather_references([make_features(3, 3, scales=(2, 3)), make_features(3, 4, scales=(2, 3))])
    assert [len(level) for level in references.windows] == [4 + 6, 1 + 2]
    assert len(references.patches) == 9 + 12


@given(seed=st.integers(0, 10_000), shots=st.integers(1, 3))
def test_a_taught_image_is_at_no_distance(make_features: FeatureMaker, seed: int, shots: int) -> None:
    """What is in the memory itself has a map of zeros, whatever else is taught."""
    taught = make_features(3, 4, scales=(2, 3), count=shots, seed=seed)
    association = reference_association(taught, gather_references([taught]))
    assert association.abs().max() < 1e-6


def test_prototypes_are_unit_means_of_the_two_sides() -> None:
    """Where all normal prompts lie at (1, 0) and all abnormal ones at (0, 1), the direction is (-1, 1)."""

    class _Encoder:
        context_length = 77

        def encode_text(self, prompts: Sequence[str]) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0] if prompt in normal else [0.0, 1.0] for prompt in prompts])

        def token_counts(self, prompts: Sequence[str]) -> list[int]:
            return [1 for _ in prompts]

    normal = set(compositional_prompts("bottle")[0])
    assert class_direction(_Encoder(), "bottle").tolist() == pytest.approx([-1.0, 1.0])
