"""Teaching in a stream: the same as all at once while the rows fit, bounded beyond."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alfa.features import ImageFeatures
from alfa.teaching import Teaching
from alfa.windows import Grid

_BLOCKS = (1, 2)


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def _features(batch: int, seed: int, grid: Grid) -> ImageFeatures:
    return ImageFeatures(
        grid=grid,
        image=_unit(batch, 6, seed=seed),
        windows=(),
        patches=_unit(batch, grid.patches, 8, seed=seed + 1),
        patch_joint=None,
        middle=(_unit(batch, grid.patches, 8, seed=seed + 2),),
    )


def test_turned_images_stand_behind_all_upright_ones_whenever_they_came() -> None:
    """A bank does not depend on whether a part was turned at once or at the end."""
    grid = Grid(2, 2)
    upright, turned = [_features(1, seed, grid) for seed in (0, 10)], [_features(3, 20, grid)] * 2
    in_turn, one_by_one = (Teaching(_BLOCKS, grid, images=2) for _ in range(2))
    for own, copies in zip(upright, turned, strict=True):
        in_turn.add(own)
        in_turn.add_turned(copies)
    for own in upright:
        one_by_one.add(own)
    for copies in turned:
        one_by_one.add_turned(copies)
    levels = in_turn.outcome().levels
    assert all(torch.equal(levels[level], rows) for level, rows in one_by_one.outcome().levels.items())
    expected = torch.cat([batch.patches.flatten(0, 1) for batch in (*upright, *turned)]).half()
    assert torch.equal(levels["block-2"], expected)


def test_more_rows_than_are_held_leave_a_coreset_of_the_cap() -> None:
    """Seven images of 4096 patches: more than are held at once, with a cap of five rows a level."""
    grid = Grid(64, 64)
    teaching = Teaching(_BLOCKS, grid, images=7, cap=5)
    every = [_features(1, seed, grid) for seed in range(7)]
    for features in every:
        teaching.add(features)
    taught = teaching.outcome()
    assert {level: len(rows) for level, rows in taught.levels.items()} == {"block-1": 5, "block-2": 5}
    known = torch.cat([features.patches[0] for features in every]).half()
    assert all((known == row).all(dim=1).any() for row in taught.levels["block-2"])
    # A part is measured to rows of other parts only, and so few of them are far from most of its patches.
    assert 0.01 < taught.typical < 0.5


def test_images_that_were_announced_and_did_not_come_are_a_mistake() -> None:
    """What is typical was sampled for another number of them."""
    teaching = Teaching(_BLOCKS, Grid(2, 2), images=3)
    teaching.add(_features(2, 0, Grid(2, 2)))
    with pytest.raises(ValueError, match="3 upright images were announced, 2 came"):
        teaching.outcome()


def test_a_cap_of_one_row_leaves_a_bank_though_one_part_owns_it() -> None:
    """The first part lies in the middle of all and is kept; it has no others to be measured against."""
    grid = Grid(16, 16)
    middle = torch.eye(8)[0].expand(1, grid.patches, 8)
    teaching = Teaching(_BLOCKS, grid, images=70, cap=1)
    for seed in range(70):
        around = _features(1, 3 * seed, grid)
        levels = [functional.normalize(middle + (seed > 0) * level, dim=-1) for level in around.middle * 2]
        teaching.add(replace(around, patches=levels[0], middle=(levels[1],)))
    outcome = teaching.outcome()
    assert torch.equal(outcome.levels["block-2"].float(), middle[0, :1])
    assert outcome.typical > 0
