"""Every aligner form against its d x d matrix W, formed here for one window at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.aligner import Contrast, RankOne, Ridge, Term, ValueRankOne, ValueSum, aligner
from alfa.features import ImageFeatures, ValueVectors
from alfa.settings import ModelSettings
from alfa.windows import Grid, window_layout

_GRID = Grid(4, 3)
_SCALES = (2, 3)

# Per level, (B, N, 1 + s*s, d) values of the windows' own tokens.
Own = tuple[Tensor, ...]
# W - I of one window from (features, own, image, level, window).
Matrix = Callable[[ImageFeatures, Own, int, int, int], Tensor]


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _features(batch: int, dim: int, seed: int) -> tuple[ImageFeatures, Own]:
    """Random features with values, and the values that they were made from."""
    layouts = tuple(window_layout(_GRID, scale) for scale in _SCALES)
    counts = [layout.windows for layout in layouts]
    windows = tuple(_unit(batch, count, dim, seed=seed + count) for count in counts)
    own = tuple(
        _unit(batch, count, 1 + scale * scale, dim, seed=seed + 50 + count)
        for count, scale in zip(counts, _SCALES, strict=True)
    )
    values = ValueVectors(
        tokens=_unit(batch, 1 + _GRID.patches, dim, seed=seed + 90),
        windows=tuple(tokens[:, :, 0] for tokens in own),
        agreement=tuple(
            torch.einsum("bntd,bnd->bnt", tokens, level) for tokens, level in zip(own, windows, strict=True)
        ),
    )
    image, patches = _unit(batch, dim, seed=seed), _unit(batch, _GRID.patches, dim, seed=seed + 91)
    return ImageFeatures(_GRID, image, windows, patches, None, values, layouts=layouts), own


def _values(features: ImageFeatures) -> ValueVectors:
    assert features.values is not None
    return features.values


def _rank_one(gamma: float) -> Matrix:
    def matrix(features: ImageFeatures, own: Own, image: int, level: int, window: int) -> Tensor:
        v_global, v_local = features.image[image], features.windows[level][image, window]
        return gamma * torch.outer(v_local - v_global, v_global) / (v_global @ v_global)

    return matrix


def _value(features: ImageFeatures, own: Own, image: int, level: int, window: int) -> Tensor:
    v_global, v_local = _values(features).tokens[image, 0], own[level][image, window, 0]
    return torch.outer(v_local - v_global, v_global)


def _global_rows(features: ImageFeatures, image: int, level: int, window: int) -> Tensor:
    tokens = _values(features).tokens[image]
    patches = window_layout(_GRID, _SCALES[level]).indices[window]
    return torch.cat([tokens[:1], tokens[1:][patches]])


def _ridge(strength: float) -> Matrix:
    def matrix(features: ImageFeatures, own: Own, image: int, level: int, window: int) -> Tensor:
        v_global, v_local = _global_rows(features, image, level, window), own[level][image, window]
        gram = v_global @ v_global.T + strength * torch.eye(len(v_global))
        inverse: Tensor = torch.linalg.inv(gram)
        return (v_local - v_global).T @ inverse @ v_global

    return matrix


def _residual(features: ImageFeatures, own: Own, image: int, level: int, window: int) -> Tensor:
    return -0.5 * torch.outer(features.windows[level][image, window], features.image[image])


def _centred(features: ImageFeatures, own: Own, image: int, level: int, window: int) -> Tensor:
    return -0.5 * torch.outer(features.windows[level][image, window], features.windows[level][image].mean(0))


def _value_sum(features: ImageFeatures, own: Own, image: int, level: int, window: int) -> Tensor:
    return torch.outer(features.windows[level][image, window], own[level][image, window, 0])


def _sum(first: Matrix, second: Matrix) -> Matrix:
    return lambda *where: first(*where) + second(*where)


_MATRICES: dict[str, Matrix] = {
    "none": lambda features, *_: torch.zeros(features.image.shape[1], features.image.shape[1]),
    "rank-one": _rank_one(1.0),
    "rank-one-half": _rank_one(0.5),
    "rank-one-double": _rank_one(2.0),
    "value": _value,
    "ridge": _ridge(1.0),
    "residual": _residual,
    "centred": _centred,
    "value-sum": _value_sum,
    "rank-one+value-sum": _sum(_rank_one(1.0), _value_sum),
}


@pytest.mark.parametrize("name", list(_MATRICES))
@given(st.integers(1, 2), st.integers(2, 8), st.integers(0, 200))
def test_a_form_scores_windows_as_its_matrix_does(name: str, batch: int, dim: int, seed: int) -> None:
    """<v_L, W D> with W = I + the form's matrix, for every window of every scale and image."""
    features, own = _features(batch, dim, seed)
    direction = _unit(batch, dim, seed=seed + 1)
    for level in range(len(_SCALES)):
        logits = aligner(name).logits(features, level, direction)
        for image in range(batch):
            for window, v_local in enumerate(features.windows[level][image]):
                w = torch.eye(dim) + _MATRICES[name](features, own, image, level, window)
                expected = v_local @ w @ direction[image]
                torch.testing.assert_close(logits[image, window], expected, rtol=1e-3, atol=1e-4)


@given(st.integers(10, 14), st.integers(0, 200))
def test_a_weak_ridge_takes_all_global_values_to_the_local_ones(dim: int, seed: int) -> None:
    """W V_G^T = V_L^T where lambda vanishes: D set to a row of V_G then gives <f_L, that row of V_L>."""
    features, _ = _features(1, dim, seed)
    for token in range(5):
        direction = _global_rows(features, 0, 0, 2)[token][None]
        logit = (features.windows[0][0, 2] @ direction[0]) + Ridge(1e-5).gain(features, 0, direction)[0, 2]
        torch.testing.assert_close(logit, _values(features).agreement[0][0, 2, token], rtol=1e-2, atol=1e-2)


@given(st.integers(2, 8), st.integers(0, 200))
def test_a_strong_ridge_is_the_identity(dim: int, seed: int) -> None:
    """With lambda beyond all values W = I, and nothing is added."""
    features, _ = _features(1, dim, seed)
    gain = Ridge(1e9).gain(features, 1, _unit(1, dim, seed=seed + 1))
    torch.testing.assert_close(gain, torch.zeros_like(gain), rtol=0, atol=1e-6)


@given(st.integers(2, 8), st.integers(0, 200))
def test_a_rotation_gives_every_window_the_images_own_score(dim: int, seed: int) -> None:
    """Why no form is orthogonal: <v_L, R D> = <R v_G, R D> = <v_G, D> for a reflection R with R v_G = v_L."""
    v_global, v_local = _unit(2, dim, seed=seed)
    direction = _unit(dim, seed=seed + 1)
    axis = functional.normalize(v_global - v_local, dim=0)
    rotation = torch.eye(dim) - 2 * torch.outer(axis, axis)
    torch.testing.assert_close(rotation @ v_global, v_local, rtol=0, atol=1e-4)
    torch.testing.assert_close(v_local @ rotation @ direction, v_global @ direction, rtol=0, atol=1e-4)


@given(st.integers(2, 8), st.integers(0, 200))
def test_a_translation_of_both_texts_changes_no_score(dim: int, seed: int) -> None:
    """f + (v_L - v_G) is the same for f- and f+, so the difference of the logits stays."""
    v_global, v_local, normal, abnormal = _unit(4, dim, seed=seed)
    moved = [text + v_local - v_global for text in (normal, abnormal)]
    torch.testing.assert_close(
        v_local @ moved[1] - v_local @ moved[0], v_local @ (abnormal - normal), rtol=0, atol=1e-5
    )


@given(st.integers(1, 2), st.integers(2, 8), st.integers(0, 200), st.integers(1, 9))
def test_contrast_is_the_distance_to_the_likest_windows_that_do_not_overlap(
    batch: int, dim: int, seed: int, nearest: int
) -> None:
    """Window by window: sorted cosines to windows without a common patch."""
    features, _ = _features(batch, dim, seed)
    gain = Contrast(2.0, nearest).gain(features, 0, _unit(batch, dim, seed=seed))
    patches = [set(row.tolist()) for row in window_layout(_GRID, 2).indices]
    for image, rows in enumerate(features.windows[0]):
        for window, own in enumerate(patches):
            apart = [other for other, theirs in enumerate(patches) if not own & theirs]
            cosines = sorted(((rows[window] @ rows[other]).item() for other in apart), reverse=True)[:nearest]
            expected = 2 * (1 - sum(cosines) / len(cosines)) if cosines else 0.0
            assert gain[image, window].item() == pytest.approx(expected, abs=1e-5)


def test_a_window_that_overlaps_all_others_has_no_contrast() -> None:
    """Both 3 x 3 windows of a 4 x 3 grid share patches: nothing is asked, nothing is added."""
    features, _ = _features(2, 4, 0)
    assert Contrast(1.0, 5).gain(features, 1, _unit(2, 4, seed=1)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("term", [ValueRankOne(), Ridge(1.0), ValueSum(1.0)])
def test_a_form_on_values_says_so_where_there_are_none(term: Term) -> None:
    """A mistake of the program, not of its user: features and form come from different settings."""
    features = replace(_features(1, 4, 0)[0], values=None)
    with pytest.raises(ValueError, match="load the backbone with settings that name it"):
        term.gain(features, 0, _unit(1, 4, seed=1))


@pytest.mark.parametrize("name", list(_MATRICES))
def test_the_settings_know_which_forms_read_values(name: str) -> None:
    """The backbone computes values for exactly the forms that cannot do without."""
    features = replace(_features(1, 4, 0)[0], values=None)
    needs = ModelSettings.model_validate({"aligner": name}).needs_values
    try:
        aligner(name).logits(features, 0, _unit(1, 4, seed=1))
    except ValueError:
        assert needs
    else:
        assert not needs


def test_no_rank_one_term_at_gamma_zero() -> None:
    """Damped to nothing, W is the identity."""
    features, _ = _features(2, 6, 0)
    assert not RankOne(0.0).gain(features, 0, _unit(2, 6, seed=1)).any()
