"""The foreground mask: what it takes for the part, and when it says that it cannot tell."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.foreground import Foreground, fit_foreground
from alfa.windows import Grid

GRID = Grid(8, 8)


def _scene(part: Tensor, seed: int = 0) -> Tensor:
    """(1, P, 6) tokens: part and background look opposite ways, with a little noise; part is (rows, cols)."""
    noise = 0.1 * torch.randn(1, part.numel(), 6, generator=torch.Generator().manual_seed(seed))
    sign = (2 * part.float() - 1).flatten()[None, :, None]
    return functional.normalize(sign * torch.eye(6)[0] + 0.5 * torch.eye(6)[1] + noise, dim=-1)


def _block(rows: slice, cols: slice, grid: Grid = GRID) -> Tensor:
    part = torch.zeros(grid.rows, grid.cols, dtype=torch.bool)
    part[rows, cols] = True
    return part


CENTRE = _block(slice(2, 6), slice(2, 6))


def _fitted(*parts: Tensor) -> Foreground:
    scenes = [_scene(part, seed) for seed, part in enumerate(parts)]
    found = fit_foreground(scenes, [GRID] * len(parts), GRID)
    assert found is not None
    return found


def test_the_mask_is_the_part_and_its_neighbours() -> None:
    """A 4 x 4 part has a 6 x 6 mask: a burr may stick out by one patch."""
    mask = _fitted(CENTRE, CENTRE).mask(_scene(CENTRE, 9), GRID).view(8, 8)
    assert torch.equal(mask, _block(slice(1, 7), slice(1, 7)))


def test_the_mask_follows_a_part_that_lies_elsewhere() -> None:
    """The corner holds a part now; where parts usually lie stays unmasked."""
    mask = _fitted(CENTRE, CENTRE).mask(_scene(_block(slice(0, 2), slice(0, 2)), 9), GRID).view(8, 8)
    assert mask[:3, :3].all()
    assert mask[2:6, 2:6].all()
    assert not mask[0, 6]
    assert not mask[7, 7]


def test_a_missing_part_is_not_background() -> None:
    """Nothing is there; the places where parts lie are looked at all the same."""
    mask = _fitted(CENTRE, CENTRE).mask(_scene(torch.zeros(8, 8), 9), GRID).view(8, 8)
    assert torch.equal(mask, CENTRE)


def test_a_batch_equals_its_images_one_by_one() -> None:
    """No mask depends on its neighbours."""
    foreground = _fitted(CENTRE, CENTRE)
    scenes = torch.cat([_scene(CENTRE, 5), _scene(torch.zeros(8, 8), 6)])
    single = torch.cat([foreground.mask(scene[None], GRID) for scene in scenes])
    assert torch.equal(foreground.mask(scenes, GRID), single)


def test_an_image_of_another_shape_gets_a_mask_of_its_own_grid() -> None:
    """The usual place is stretched to it."""
    wide = Grid(4, 16)
    empty = torch.zeros(wide.rows, wide.cols)
    mask = _fitted(CENTRE, CENTRE).mask(_scene(empty, 9), wide).view(4, 16)
    assert mask[1:3, 5:11].all()
    assert not mask[:, 0].any()
    assert not mask[:, 15].any()


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(torch.arange(64).view(8, 8) % 2 == 0, id="stripes over the whole image"),
        pytest.param(_block(slice(0, 8), slice(0, 4)), id="a part that reaches the edges"),
        pytest.param(_block(slice(4, 5), slice(4, 5)), id="a spot in the middle"),
    ],
)
def test_what_is_no_part_in_front_of_a_background_has_no_mask(part: Tensor) -> None:
    """A texture must never be masked."""
    assert fit_foreground([_scene(part)], [GRID], GRID) is None


def test_images_of_a_few_patches_have_no_mask() -> None:
    """They have no middle apart from their border."""
    grid = Grid(3, 8)
    assert fit_foreground([_scene(_block(slice(1, 2), slice(2, 6), grid))], [grid], grid) is None


@given(st.integers(0, 1000))
def test_noise_has_no_mask(seed: int) -> None:
    """Random tokens are part everywhere and nowhere."""
    tokens = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(seed))
    assert fit_foreground([functional.normalize(tokens, dim=-1)], [GRID], GRID) is None


def test_it_is_taken_back_from_what_it_hands_to_a_file() -> None:
    """And the rest is left."""
    foreground = _fitted(CENTRE, CENTRE)
    held = {"block-1": torch.zeros(1), **foreground.tensors()}
    taken = Foreground.take(held)
    assert taken is not None
    assert list(held) == ["block-1"]
    assert torch.equal(taken.usual, foreground.usual)
    assert Foreground.take(held) is None
