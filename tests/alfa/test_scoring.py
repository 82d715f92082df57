"""Eq. 10-12 against the printed softmax, and at temperatures that saturate."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alfa.adaptation import AdaptedPrompts
from alfa.scoring import global_score, highest, image_score, local_map, softmax_score
from alfa.windows import Grid, window_layout


def _prompts(normal: list[float], abnormal: list[float]) -> AdaptedPrompts:
    kept = torch.ones(1, 1, dtype=torch.bool)
    flag = torch.zeros(1, dtype=torch.bool)
    return AdaptedPrompts(torch.tensor([normal]), torch.tensor([abnormal]), kept, kept, flag, flag)


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.05, 5))
def test_the_score_is_the_two_way_softmax(abnormal: float, normal: float, temperature: float) -> None:
    """sigmoid((a - n) / tau) equals exp(a / tau) / (exp(a / tau) + exp(n / tau))."""
    a, n = math.exp(abnormal / temperature), math.exp(normal / temperature)
    score = softmax_score(torch.tensor(abnormal - normal), temperature)
    assert score.item() == pytest.approx(a / (a + n), rel=1e-4, abs=1e-12)


def test_the_global_score_by_hand() -> None:
    """f = (0.6, 0.8), f+ = (1, 0), f- = (0, 1): sigma((0.8 - 0.6) / 0.1) = sigma(2)."""
    score = global_score(torch.tensor([[0.6, 0.8]]), _prompts([1.0, 0.0], [0.0, 1.0]), temperature=0.1)
    assert score.tolist() == pytest.approx([1 / (1 + math.exp(-2))], rel=1e-5)


def test_the_image_score_is_the_mean_of_both() -> None:
    """Eq. 12."""
    assert image_score(torch.tensor([0.2, 1.0]), torch.tensor([0.6, 0.0])).tolist() == pytest.approx(
        [0.4, 0.5]
    )


@given(st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=20), st.floats(1e-6, 1e-2))
def test_a_small_temperature_saturates_but_stays_finite_and_ordered(
    logits: list[float], temperature: float
) -> None:
    """Scores stay in [0, 1] and never change places."""
    scores = softmax_score(torch.tensor(sorted(logits)), temperature)
    assert torch.isfinite(scores).all()
    assert torch.all((scores >= 0) & (scores <= 1))
    assert torch.all(scores.diff() >= 0)


def test_a_saturated_map_is_finite_and_ordered() -> None:
    """Windows scored 0 and 1 exactly: harmonic averaging makes no NaN, and clear sides stay clear."""
    logits = torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    scores = local_map([logits], [window_layout(Grid(1, 4), 1)], temperature=1e-4)
    assert torch.isfinite(scores).all()
    assert scores[0, :2].max() < 1e-20
    assert scores[0, 2:].tolist() == [1.0, 1.0]


def test_half_precision_logits_are_scored_in_single_precision() -> None:
    """float16 alone would make these two scores equal."""
    scores = softmax_score(torch.tensor([8.0, 9.0], dtype=torch.float16), 1.0)
    assert scores.dtype == torch.float32
    assert scores[0] < scores[1]


def test_levels_meet_in_the_harmonic_mean_and_the_one_beyond_the_scales_is_patches() -> None:
    """One 2x2 window at 1/2 and four patches: each patch gets the harmonic mean of 1/2 and its own score."""
    patch_scores = torch.tensor([[0.5, 0.25, 0.75, 0.1]])
    combined = local_map(
        [torch.zeros(1, 1), torch.logit(patch_scores)], [window_layout(Grid(2, 2), 2)], temperature=1.0
    )
    expected = [2 / (1 / 0.5 + 1 / score) for score in (0.5, 0.25, 0.75, 0.1)]
    assert combined[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_patch_level_on_the_finest_grid_is_its_own_map() -> None:
    """2048 pixels in patches of 8 are 65,536 patches: a matrix of each to each would take 16 GB."""
    grid = Grid(256, 256)
    logits = torch.randn(1, grid.patches, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(local_map([logits], (), 1.0), torch.sigmoid(logits))


def test_the_highest_patches_are_a_share_of_all() -> None:
    """Of 10 patches, 20 % are two; no share, or less than a patch, leaves the maximum of Eq. 12."""
    patch_map = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]])
    assert highest(patch_map, 0.2).item() == pytest.approx(0.85)
    assert highest(patch_map, 0.01).item() == pytest.approx(0.9)
    assert highest(patch_map, 0.0).item() == pytest.approx(0.9)
    assert highest(patch_map, 1.0).item() == pytest.approx(0.45)
