"""The value vectors that the backbone gives where the aligner asks for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alfa.backbone import Backbone
from alfa.features import ValueVectors
from alfa.settings import ModelSettings
from alfa.windows import Grid


@pytest.fixture(scope="module")
def with_values(tiny_settings: ModelSettings) -> Backbone:
    """The tiny model as the ridge aligner wants it."""
    return Backbone.load(tiny_settings.model_copy(update={"aligner": "ridge"}))


def _pixels(count: int, height: int = 48, width: int = 36) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(3))


def _values(backbone: Backbone, pixels: Tensor) -> ValueVectors:
    values = backbone.encode_images(pixels).values
    assert values is not None
    return values


def test_without_a_form_on_values_there_are_none(tiny_backbone: Backbone) -> None:
    """They cost time, and the forms on embeddings do not read them."""
    assert tiny_backbone.encode_images(_pixels(1)).values is None


def test_values_change_no_embedding(tiny_backbone: Backbone, with_values: Backbone) -> None:
    """They are taken on the way."""
    plain, rich = tiny_backbone.encode_images(_pixels(2)), with_values.encode_images(_pixels(2))
    torch.testing.assert_close(rich.image, plain.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(rich.patches, plain.patches, atol=1e-5, rtol=0)
    for ours, theirs in zip(rich.windows, plain.windows, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_shapes_and_lengths(with_values: Backbone) -> None:
    """4 x 3 patches: 13 tokens, 6 windows of 5 tokens, 2 of 10; rows of unit length."""
    values = _values(with_values, _pixels(2))
    assert values.tokens.shape == (2, 13, 16)
    assert [tuple(level.shape) for level in values.windows] == [(2, 6, 16), (2, 2, 16)]
    assert [tuple(level.shape) for level in values.agreement] == [(2, 6, 5), (2, 2, 10)]
    for rows in (values.tokens, *values.windows):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]))


def test_a_window_of_all_patches_has_the_images_values(with_values: Backbone) -> None:
    """On 3 x 3 patches the one window of scale 3 is the image: the same values, the same inner products."""
    features = with_values.encode_images(_pixels(2, 36, 36))
    assert features.grid == Grid(3, 3)
    assert features.values is not None
    tokens, window = features.values.tokens, features.values.windows[1]
    torch.testing.assert_close(window[:, 0], tokens[:, 0], atol=1e-5, rtol=0)
    expected = torch.einsum("btd,bd->bt", tokens, features.image)
    torch.testing.assert_close(features.values.agreement[1][:, 0], expected, atol=1e-5, rtol=0)


def test_how_windows_are_split_over_passes_changes_no_value(
    with_values: Backbone, tiny_settings: ModelSettings
) -> None:
    """Passes that end within an image or hold parts of two."""
    split = Backbone.load(tiny_settings.model_copy(update={"aligner": "ridge", "tokens_at_once": 5}))
    ours, theirs = _values(split, _pixels(2)), _values(with_values, _pixels(2))
    for mine, other in zip(
        (*ours.windows, *ours.agreement), (*theirs.windows, *theirs.agreement), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


def test_select_takes_the_values_of_the_same_images(with_values: Backbone) -> None:
    """Positions name the same images in every part."""
    features = with_values.encode_images(_pixels(3))
    whole, some = features.values, features.select([2, 0]).values
    assert whole is not None
    assert some is not None
    for mine, other in zip(
        (some.tokens, *some.windows, *some.agreement),
        (whole.tokens, *whole.windows, *whole.agreement),
        strict=True,
    ):
        assert torch.equal(mine, other[[2, 0]])
