"""The comparison of windows judges what a mode that encodes those windows alone would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alfa.backbone import Backbone
from alfa.settings import ModelSettings
from alfa.windows import Grid, window_layout
from tools.compare_windows import CHOICES, Choice, chessboard, kept_places, thinned, tokens

_BY_NAME = {choice.name: choice for choice in CHOICES}


def test_windows_side_by_side_are_those_of_the_fast_mode(
    tiny_backbone: Backbone, tiny_settings: ModelSettings
) -> None:
    """The same windows in the same order, and embeddings that differ by rounding alone."""
    image = np.random.default_rng(0).integers(0, 256, (36, 96, 3), dtype=np.uint8)
    [(_, exact)] = tiny_backbone.encode([image])
    [(_, fast)] = Backbone.load(tiny_settings.model_copy(update={"mode": "fast"})).encode([image])
    chosen = thinned(exact, _BY_NAME["side by side (fast)"])
    for level, layout in enumerate(fast.layouts):
        assert torch.equal(chosen.layouts[level].indices, layout.indices)
        torch.testing.assert_close(chosen.windows[level], fast.windows[level], atol=1e-5, rtol=0)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
@given(grid=st.builds(Grid, st.integers(3, 9), st.integers(3, 9)))
def test_every_choice_leaves_no_patch_without_a_window(choice: Choice, grid: Grid) -> None:
    """On every scale that it keeps; else a harmonic mean would be of nothing."""
    for scale, keep in choice.keep.items():
        kept = kept_places(grid, scale, keep)
        assert torch.all(window_layout(grid, scale).coverage[:, kept].sum(dim=1) > 0)


def test_a_chessboard_keeps_every_second_window_and_the_corners() -> None:
    """Of 3x2 places all but the left one of the middle row."""
    assert kept_places(Grid(4, 3), 2, chessboard) == [0, 1, 3, 4, 5]


def test_tokens_are_those_of_the_image_and_of_its_windows() -> None:
    """16 x 16 patches and a class token, 15 x 15 windows of 5 tokens, 14 x 14 of 10."""
    assert tokens(Grid(16, 16), _BY_NAME["exact"]) == 257 + 225 * 5 + 196 * 10
