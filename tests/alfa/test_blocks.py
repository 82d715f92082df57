"""Short sequences that share a tile of attention see only themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from alfa.blocks import PlainBlock, Run, sequences_in_tile

_WIDTH, _HEADS = 32, 2


@pytest.fixture
def block() -> PlainBlock:
    """Attention with random projections."""
    torch.manual_seed(0)
    none = nn.Identity()
    weight, bias = torch.randn(3 * _WIDTH, _WIDTH), torch.randn(3 * _WIDTH)
    return PlainBlock(none, weight, bias, _HEADS, (none, none, none), none, none, none)


@pytest.mark.parametrize(
    ("length", "together"),
    # 24 x 5 and 12 x 10 are 120 rows, a multiple of eight; of 17 none fits; an image fills tiles of its own.
    [(5, 24), (10, 12), (4, 32), (9, 8), (17, 1), (226, 1)],
)
def test_a_tile_is_filled_with_whole_sequences(length: int, together: int) -> None:
    """As many as 128 rows hold, where the rows of the mask stay a multiple of eight."""
    assert sequences_in_tile(length) == together


@pytest.mark.parametrize("sequences", [1, 23, 24, 25, 48, 53])
def test_attention_in_tiles_is_attention_sequence_by_sequence(block: PlainBlock, sequences: int) -> None:
    """Also where the last sequences fill no tile, and where none does."""
    runs = [Run(sequences, 5), Run(7, 10)]
    rows = torch.randn(sum(run.rows for run in runs), 3 * _WIDTH)
    assert not block.tiled
    alone = block.attend(rows, runs)
    block.tiled = True
    assert torch.allclose(block.attend(rows, runs), alone, atol=1e-5)


def test_rows_of_other_sequences_in_the_tile_change_nothing(block: PlainBlock) -> None:
    """The first sequence is the same, bit by bit, whatever its neighbours are."""
    block.tiled = True
    rows = torch.randn(24 * 5, 3 * _WIDTH)
    before = block.attend(rows, [Run(24, 5)])[:5].clone()
    rows[5:] = 1000 * torch.randn(23 * 5, 3 * _WIDTH)
    assert torch.equal(block.attend(rows, [Run(24, 5)])[:5], before)
