"""How embedded tokens go through an image tower: with all that is kept on the way, or for some rows alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from alfa.blocks import Block, Packing, unpacked
from alfa.windows import Grid


class Traced(NamedTuple):
    """Packed rows on their way through all blocks.

    Attributes:
        hidden: after the last block and the tower's final norm, (m, c).
        middle: the same after each of the tower's middle blocks.
        values: the value vectors in each of the blocks that were asked for, (m, c).
    """

    hidden: Tensor
    middle: list[Tensor]
    values: list[Tensor]

    def unpacked(self, packing: Packing) -> list[Traced]:
        """For each run of n sequences of L tokens, the same as (n, L, c)."""
        hidden = unpacked(self.hidden, packing)
        middle = [unpacked(kept, packing) for kept in self.middle]
        values = [unpacked(value, packing) for value in self.values]
        return [
            Traced(of_run, [kept[run] for kept in middle], [value[run] for value in values])
            for run, of_run in enumerate(hidden)
        ]


class Tower(Protocol):
    """An image tower in its steps.

    Attributes:
        blocks: its transformer blocks.
        image_size: (h, w) in pixels that the model asks for.
        patch_size: side of a patch in pixels.
        prefix: tokens in front of the patch tokens: 1 with a class token, 0 without, more with registers.
        patch_dim: c, the width of a patch token.
        pools_first: whether `pool` reads nothing but a sequence's first token.
    """

    blocks: list[Block]
    image_size: tuple[int, int]
    patch_size: int
    prefix: int
    patch_dim: int
    pools_first: bool

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) normalised pixels -> (B, prefix + P, c) tokens with their positions.

        Any h and w that are multiples of the patch size.
        """

    def positions(self, grid: Grid) -> Tensor:
        """(1, tokens, c): the position embeddings of a grid, which `embed` adds; cached."""

    def norm(self, rows: Tensor) -> Tensor:
        """The final norm of rows of any block, (m, c), where it belongs before the pooling."""

    def pool(self, hidden: Tensor) -> Tensor:
        """(n, tokens, c) after all blocks and `norm` -> (n, d) in the joint space, not yet unit length."""

    def patches(self, hidden: Tensor) -> Tensor:
        """(n, tokens, c) after all blocks and `norm` -> (n, patches, c), as the tower itself gives them."""


def middle_blocks(depth: int) -> tuple[int, ...]:
    """The blocks, counted from 1, after a half and after three quarters of the tower.

    Their patch tokens still say where something is and what it looks like; the last ones say what it is.
    """
    return tuple(sorted({depth // 2, 3 * depth // 4} - {0, depth}))


def trace(
    tower: Tower, rows: Tensor, packing: Packing, projected: Tensor, value_blocks: Sequence[int] = ()
) -> Traced:
    """Rows through all blocks, with what is kept of the middle blocks and the value vectors (Eq. 7).

    Args:
        tower: whose blocks.
        rows: (m, c) embedded tokens.
        packing: which rows are a sequence.
        projected: `blocks[0].project` of the rows.
        value_blocks: the blocks, counted from 1 and rising, whose values are wanted. A value vector is what
            its token hands to an attention that looks at it alone: through the block's output projection
            (Eq. 9) and LayerScale, and the tower's final norm where there is one before the pooling.
    """
    middle, values = [], []
    kept = middle_blocks(len(tower.blocks))
    for number, block in enumerate(tower.blocks, start=1):
        if number in value_blocks:
            values.append(tower.norm(block.values(rows)))
        attended = block.attend(block.project(rows) if number > 1 else projected, packing)
        rows = block.finish(rows, attended)
        if number in kept:
            middle.append(tower.norm(rows))
    return Traced(tower.norm(rows), middle, values)


def read_out(tower: Tower, rows: Tensor, packing: Packing, projected: Tensor, read: Tensor | None) -> Tensor:
    """Some rows after all blocks; the last block is finished for those alone.

    Args:
        tower: whose blocks.
        rows: (m, c) embedded tokens.
        packing: which rows are a sequence.
        projected: `blocks[0].project` of the rows.
        read: (r,) the rows that are asked for; None for all.

    Returns:
        (r, c) after the final norm.
    """
    for block, following in itertools.pairwise(tower.blocks):
        rows = block.finish(rows, block.attend(projected, packing))
        projected = following.project(rows)
    last = tower.blocks[-1]
    attended = last.attend(projected, packing)
    if read is not None:
        rows, attended = rows[read], attended[read]
    return tower.norm(last.finish(rows, attended))
