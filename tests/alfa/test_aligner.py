"""The aligner against the d x d matrices of Sec. 4.3 that it never builds."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.adaptation import AdaptedPrompts, TextEmbeddings, adapt
from alfa.aligner import aligner, local_logits
from alfa.errors import BadInput
from alfa.features import ImageFeatures
from alfa.settings import ModelSettings
from alfa.windows import Grid


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _features(
    batch: int, windows: tuple[int, ...], dim: int, seed: int, patch_level: bool = False
) -> ImageFeatures:
    return ImageFeatures(
        grid=Grid(3, 3),
        image=_unit(batch, dim, seed=seed),
        windows=tuple(_unit(batch, count, dim, seed=seed + 1 + count) for count in windows),
        patches=_unit(batch, 9, dim, seed=seed + 100),
        patch_joint=_unit(batch, 9, dim, seed=seed + 101) if patch_level else None,
    )


def _adapted(features: ImageFeatures, seed: int) -> AdaptedPrompts:
    dim = features.image.shape[1]
    text = TextEmbeddings(_unit(4, dim, seed=seed), _unit(5, dim, seed=seed + 1), torch.empty(0, dim))
    return adapt(features.image, text)


def _rank_one(v_global: Tensor, v_local: Tensor) -> Tensor:
    """W = I + (v_L - v_G) v_G^T / (v_G . v_G), as a matrix."""
    return torch.eye(len(v_global)) + torch.outer(v_local - v_global, v_global) / (v_global @ v_global)


@given(st.integers(2, 12), st.integers(0, 500))
def test_the_global_vector_is_taken_to_the_local_one(dim: int, seed: int) -> None:
    """W v_G = v_L to 1e-5: the matrix does so, and <v_L, W v_G> = <v_L, v_L> = 1 without forming it."""
    v_global, v_local = _unit(2, dim, seed=seed)
    torch.testing.assert_close(_rank_one(v_global, v_local) @ v_global, v_local, rtol=0, atol=1e-5)
    features = ImageFeatures(Grid(1, 1), v_global[None], (v_local[None, None],), v_local[None, None], None)
    logits = aligner("rank-one").logits(features, 0, direction=v_global[None])
    torch.testing.assert_close(logits, torch.ones(1, 1), rtol=0, atol=1e-5)


@given(st.integers(1, 3), st.integers(2, 12), st.integers(0, 500))
def test_rank_one_logits_equal_those_of_the_matrix_applied_to_both_texts(
    batch: int, dim: int, seed: int
) -> None:
    """<f_L, W f-> - <f_L, W f+> with W formed for each window, W f not re-normalised."""
    features = _features(batch, (4, 3), dim, seed)
    adapted = _adapted(features, seed + 7)
    for level, logits in enumerate(local_logits(features, adapted, aligner("rank-one"), "both")):
        for image in range(batch):
            for window, v_local in enumerate(features.windows[level][image]):
                w = _rank_one(features.image[image], v_local)
                expected = v_local @ (w @ adapted.abnormal[image]) - v_local @ (w @ adapted.normal[image])
                torch.testing.assert_close(logits[image, window], expected, rtol=1e-4, atol=1e-5)


def test_rank_one_by_hand() -> None:
    """v_G = (1, 0), v_L = (0, 1), D = (1, 2): <v_L, D> = 2, plus (1 - 0) * <v_G, D> = 1."""
    features = ImageFeatures(
        grid=Grid(2, 1),
        image=torch.tensor([[1.0, 0.0]]),
        windows=(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]),),
        patches=torch.empty(1, 0, 2),
        patch_joint=None,
    )
    logits = aligner("rank-one").logits(features, 0, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(logits, torch.tensor([[3.0, 1.0]]))


def test_a_window_equal_to_the_image_gets_the_images_own_logit() -> None:
    """Where there is no gap, W is the identity."""
    features = _features(2, (3,), 6, seed=3)
    same = ImageFeatures(features.grid, features.image, (features.image[:, None, :],), features.patches, None)
    adapted = _adapted(same, 5)
    expected = (same.image * adapted.direction).sum(dim=1, keepdim=True)
    torch.testing.assert_close(local_logits(same, adapted, aligner("rank-one"), "both")[0], expected)


def test_without_aligner_windows_meet_the_global_text() -> None:
    """The form `none` is the plain inner product."""
    features = _features(2, (3,), 6, seed=3)
    adapted = _adapted(features, 5)
    expected = (features.windows[0] @ (adapted.abnormal - adapted.normal)[:, :, None]).squeeze(2)
    torch.testing.assert_close(local_logits(features, adapted, aligner("none"), "both")[0], expected)


def test_the_patch_level_comes_last_and_without_the_aligner() -> None:
    """Text-aligned patch tokens have no gap to bridge, so both forms score them the same."""
    features = _features(2, (3, 2), 6, seed=3, patch_level=True)
    adapted = _adapted(features, 5)
    with_form = local_logits(features, adapted, aligner("rank-one"), "both")
    without = local_logits(features, adapted, aligner("none"), "both")
    assert [tuple(level.shape) for level in with_form] == [(2, 3), (2, 2), (2, 9)]
    assert torch.equal(with_form[2], without[2])
    assert not torch.allclose(with_form[0], without[0])


def test_the_patch_level_can_be_left_out() -> None:
    """The setting leaves only the paper's own window levels."""
    features = _features(1, (3, 2), 6, seed=3, patch_level=True)
    assert len(local_logits(features, _adapted(features, 5), aligner("rank-one"), "windows")) == 2


def test_every_form_that_the_settings_offer_exists() -> None:
    """The names stand in two places; a setting that is accepted must not fail at the first image."""
    for name in get_args(ModelSettings.model_fields["aligner"].annotation):
        assert aligner(name) is not None


def test_an_unknown_form_is_refused_with_the_known_ones() -> None:
    """One line that names the choices."""
    with pytest.raises(BadInput, match="choose one of none, rank-one"):
        aligner("rotation")
