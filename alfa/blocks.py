"""One transformer block in its steps, on packed rows; the same for open_clip's and timm's blocks.

All that a block does but attention concerns a token alone. So the tokens of many sequences, of windows of 4
and of 9 patches alike, stand behind each other as the rows of one matrix, without padding, and only attention
looks at where a sequence begins:

    rows (m, c) -> project (m, 3c) -> attend, within each sequence (m, c) -> finish (m, c)

A block is taken apart so that a pass over windows can leave out what it does not need: the first projection
is the same for all windows that share a token, and after the last attention one token a window is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from alfa.errors import BadInput


class Run(NamedTuple):
    """Sequences of one length behind each other.

    Attributes:
        sequences: n, how many.
        length: L, tokens in each.
    """

    sequences: int
    length: int

    @property
    def rows(self) -> int:
        """n * L."""
        return self.sequences * self.length


Packing: TypeAlias = Sequence[Run]


def unpacked(rows: Tensor, packing: Packing) -> list[Tensor]:
    """(m, c) packed rows -> a view (n, L, c) of each run."""
    runs = torch.split(rows, [run.rows for run in packing])
    return [part.view(run.sequences, run.length, -1) for part, run in zip(runs, packing, strict=True)]


# What a GPU's attention works on at once, and what the sides of its masks are multiples of.
_TILE_ROWS = 128
_MASK_ALIGNMENT = 8


def sequences_in_tile(length: int) -> int:
    """How many sequences of a length share a tile of attention; 1 where no number of them fits its mask."""
    aligned = _MASK_ALIGNMENT // math.gcd(_MASK_ALIGNMENT, length)
    return max(1, _TILE_ROWS // length // aligned * aligned)


@cache
def _within_sequence(length: int, sequences: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n * L, n * L): 0 between rows of the same sequence, else minus infinity.

    Never freed: there are as many as lengths of windows, and recorded passes read them (`alfa.cuda_graphs`).
    """
    with torch.inference_mode(mode=False):
        sequence = torch.arange(sequences * length, device=device) // length
        apart = sequence[:, None] != sequence
        return torch.zeros(apart.shape, dtype=dtype, device=device).masked_fill(apart, -math.inf)


class Block(Protocol):
    """A residual block of attention and MLP; m is the number of rows, c their width."""

    def project(self, rows: Tensor) -> Tensor:
        """(m, c) -> what attention reads of each row alone, (m, ...)."""

    def attend(self, projected: Tensor, packing: Packing) -> Tensor:
        """The projected rows -> what each row gathers from its sequence, (m, ...)."""

    def finish(self, rows: Tensor, attended: Tensor) -> Tensor:
        """Rows and what they gathered -> rows after the block, (m, c); for any choice of rows."""

    def values(self, rows: Tensor) -> Tensor:
        """(m, c) -> what each row hands to an attention that looks at it alone (Eq. 7 and 9), (m, c).

        Raises:
            BadInput: no such thing is known of this kind of block.
        """


class PlainBlock:
    """The pre-norm block of ViT (Eq. 5-9): norm, attention, residual; norm, MLP, residual.

    Attributes:
        tiled: whether short sequences share a call of attention, as one long one with a mask between them. A
            GPU's kernel takes one at a time and leaves most of its tile empty: 36 us instead of 356 for 1568
            sequences of 5 (docs/performance.md).

    Args:
        norm_in: before attention.
        weight: (3c, c), query, key and value projections stacked.
        bias: (3c,), or None.
        heads: of the attention.
        norms: of query, key and of what attention gives; identities in most models.
        out: projection after attention.
        norm_mlp: before the MLP.
        mlp: the MLP.
    """

    def __init__(
        self,
        norm_in: nn.Module,
        weight: Tensor,
        bias: Tensor | None,
        heads: int,
        norms: tuple[nn.Module, nn.Module, nn.Module],
        out: nn.Module,
        norm_mlp: nn.Module,
        mlp: nn.Module,
    ) -> None:
        self._norm_in = norm_in
        self._weight = weight
        self._bias = bias
        self._heads = heads
        self._norm_query, self._norm_key, self._norm_attended = norms
        self._out = out
        self._norm_mlp = norm_mlp
        self._mlp = mlp
        self.tiled = weight.is_cuda

    def project(self, rows: Tensor) -> Tensor:
        """Queries, keys and values of the normed rows side by side (Eq. 7), (m, 3c)."""
        return functional.linear(self._norm_in(rows), self._weight, self._bias)

    def attend(self, projected: Tensor, packing: Packing) -> Tensor:
        """Scaled dot-product attention of each head (Eq. 8), one call a length; (m, c)."""
        attended = [self._attend_run(run) for run in unpacked(projected, packing)]
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def finish(self, rows: Tensor, attended: Tensor) -> Tensor:
        """The heads through the output projection (Eq. 9), then both residual additions (Eq. 5 and 6)."""
        rows = rows + self._out(self._norm_attended(attended))
        return rows + self._mlp(self._norm_mlp(rows))  # type: ignore[no-any-return]

    def values(self, rows: Tensor) -> Tensor:
        """The value projection's share of `project`, through the projection after attention."""
        width = len(self._weight) // 3
        bias = None if self._bias is None else self._bias[-width:]
        values = functional.linear(self._norm_in(rows), self._weight[-width:], bias)
        return self._out(self._norm_attended(values))  # type: ignore[no-any-return]

    def _attend_run(self, projected: Tensor) -> Tensor:
        """(n, L, 3c) -> (n * L, c)."""
        count, length, _ = projected.shape
        together = sequences_in_tile(length) if self.tiled else 1
        in_tiles = count // together * together
        if together == 1 or not in_tiles:
            return self._attended(projected)
        mask = _within_sequence(length, together, projected.dtype, projected.device)
        tiles = projected[:in_tiles].reshape(-1, together * length, projected.shape[2])
        parts = [self._attended(tiles, mask)]
        if in_tiles < count:
            parts.append(self._attended(projected[in_tiles:]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _attended(self, projected: Tensor, mask: Tensor | None = None) -> Tensor:
        """(n, L, 3c), and what is added to the scores, (L, L) -> (n * L, c)."""
        count, length, _ = projected.shape
        # (3, n, heads, L, c / heads)
        query, key, value = projected.view(count, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            self._norm_query(query), self._norm_key(key), value, attn_mask=mask
        )
        return attended.transpose(1, 2).reshape(count * length, -1)


class OpaqueBlock:
    """A block of a kind that is not taken apart: all of it happens in `attend`, nothing is left out."""

    def __init__(self, block: nn.Module) -> None:
        self._block = block

    def project(self, rows: Tensor) -> Tensor:
        """The rows themselves."""
        return rows

    def attend(self, projected: Tensor, packing: Packing) -> Tensor:
        """The whole block."""
        return torch.cat([self._block(run).flatten(0, 1) for run in unpacked(projected, packing)])

    def finish(self, rows: Tensor, attended: Tensor) -> Tensor:
        """Nothing more."""
        return attended

    def values(self, rows: Tensor) -> Tensor:
        """Not known."""
        kind = type(self._block).__name__
        advice = f"aligners on value vectors cannot read this model's blocks ({kind}); choose rank-one"
        raise BadInput("model", "aligner", None, advice)
