"""Image towers behind one small interface: tokens in, pooled embedding and patch tokens out.

open_clip builds two kinds: its own `VisionTransformer` and `TimmModel` around a timm ViT (SigLIP, DINOv2).
The method needs them taken apart, because a window is the tower run on the prefix (class) tokens plus that
window's patch tokens with their own positions (Sec. 4.3). The parts used here are private to open_clip; its
minor version is pinned, and a test compares a window of all patches with open_clip's own `encode_image`.

An image of another size than the tower was trained with gets its positions interpolated, so that a long part
keeps its shape and a large one its detail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import timm
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional

from alfa.errors import BadInput
from alfa.windows import Grid


class Traced(NamedTuple):
    """Tokens on their way through all blocks.

    Attributes:
        hidden: what `Tower.transform` gives, (n, tokens, c).
        middle: the same after each of the tower's middle blocks.
        values: the value vectors in each of the blocks that were asked for, (n, tokens, c).
    """

    hidden: Tensor
    middle: list[Tensor]
    values: list[Tensor]


class Tower(Protocol):
    """An image tower in its steps.

    Attributes:
        depth: how many blocks it has.
        image_size: (h, w) in pixels that the model asks for.
        patch_size: side of a patch in pixels.
        prefix: tokens in front of the patch tokens: 1 with a class token, 0 without, more with registers.
        patch_dim: c, the width of a patch token.
    """

    depth: int
    image_size: tuple[int, int]
    patch_size: int
    prefix: int
    patch_dim: int

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) normalised pixels -> (B, prefix + P, c) tokens with their positions.

        Any h and w that are multiples of the patch size.
        """

    def transform(self, tokens: Tensor) -> Tensor:
        """(n, prefix + any number of patches, c) -> the same after all blocks."""

    def trace(self, tokens: Tensor, value_blocks: Sequence[int] = ()) -> Traced:
        """`transform`, and on the way the tokens after the middle blocks and the value vectors (Eq. 7).

        Args:
            tokens: (n, prefix + any number of patches, c).
            value_blocks: the blocks, counted from 1 and rising, whose values are wanted.

        A value vector is what its token hands to an attention that looks at it alone: through the block's
        output projection (Eq. 9) and LayerScale, and the tower's final norm where `transform` applies it.
        """

    def pool(self, hidden: Tensor) -> Tensor:
        """Transformed tokens -> (n, d) in the joint space, not yet unit length."""

    def patches(self, hidden: Tensor) -> Tensor:
        """Transformed tokens -> (n, patches, c), patch tokens after the tower's final norm."""


class OpenClipTower:
    """open_clip's own vision transformer; one class token."""

    prefix = 1

    def __init__(self, visual: VisionTransformer) -> None:
        self._visual: Any = visual
        self.depth = len(visual.transformer.resblocks)
        self.image_size: tuple[int, int] = tuple(visual.image_size)
        self.patch_size: int = visual.patch_size[0]
        self.patch_dim: int = visual.positional_embedding.shape[1]
        self._positions = Positions(visual.positional_embedding[None], Grid(*visual.grid_size), self.prefix)
        # CoCa's attentional pooler leaves no norm of the tower's own width.
        self._patch_norm = visual.ln_post if visual.attn_pool is None else nn.Identity()

    def embed(self, pixels: Tensor) -> Tensor:
        """Class token, patch projection, positions, ln_pre."""
        visual = self._visual
        patches = visual.conv1(pixels)
        class_token = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).mT], dim=1)
        return visual.ln_pre(tokens + self._positions.on(_grid_of(patches)))  # type: ignore[no-any-return]

    def transform(self, tokens: Tensor) -> Tensor:
        """All residual blocks."""
        return self._visual.transformer(tokens)  # type: ignore[no-any-return]

    def trace(self, tokens: Tensor, value_blocks: Sequence[int] = ()) -> Traced:
        """Values of ln_1's output by the last third of the fused input projection."""
        transformer = self._visual.transformer
        # Where tokens are kept in the order (tokens, n, c), open_clip turns them around before the blocks.
        turned = not transformer.batch_first
        tokens = tokens.transpose(0, 1).contiguous() if turned else tokens
        traced = _through(transformer.resblocks, tokens, value_blocks, _open_clip_values)
        return _each(traced, lambda kept: kept.transpose(0, 1)) if turned else traced

    def pool(self, hidden: Tensor) -> Tensor:
        """Final norm, pooling and projection."""
        pooled, _ = self._visual._pool(hidden)
        return pooled if self._visual.proj is None else pooled @ self._visual.proj  # type: ignore[no-any-return]

    def patches(self, hidden: Tensor) -> Tensor:
        """Patch tokens after ln_post."""
        return self._patch_norm(hidden[:, self.prefix :])  # type: ignore[no-any-return]


class TimmTower:
    """A timm ViT inside open_clip's `TimmModel`: with or without class token, LayerScale, attention pool."""

    def __init__(self, visual: TimmModel) -> None:
        trunk = visual.trunk
        self._trunk: Any = trunk
        self._head: Any = visual.head
        self.depth = len(trunk.blocks)
        self.image_size: tuple[int, int] = tuple(visual.image_size)
        self.patch_size: int = trunk.patch_embed.patch_size[0]
        self.prefix: int = trunk.num_prefix_tokens
        self.patch_dim: int = trunk.embed_dim
        # Average pooling models norm after the pool only; their patch tokens take that norm.
        self._patch_norm = trunk.fc_norm if isinstance(trunk.norm, nn.Identity) else nn.Identity()
        # Without positions of their own, the prefix tokens are put in front after the addition.
        self._placed_prefix: int = 0 if trunk.no_embed_class else self.prefix
        self._positions = Positions(trunk.pos_embed, Grid(*trunk.patch_embed.grid_size), self._placed_prefix)

    def embed(self, pixels: Tensor) -> Tensor:
        """Patch projection, prefix tokens, positions, norm_pre."""
        trunk = self._trunk
        patches = trunk.patch_embed.proj(pixels)
        tokens = trunk.patch_embed.norm(patches.flatten(2).mT)
        positions = self._positions.on(_grid_of(patches))
        prefix = [
            token.expand(len(tokens), -1, -1)
            for token in (trunk.cls_token, trunk.reg_token)
            if token is not None
        ]
        if self._placed_prefix:
            placed = torch.cat([*prefix, tokens], dim=1) + positions
        else:
            placed = torch.cat([*prefix, tokens + positions], dim=1)
        return trunk.norm_pre(placed)  # type: ignore[no-any-return]

    def transform(self, tokens: Tensor) -> Tensor:
        """All blocks and timm's final norm."""
        return self._trunk.norm(self._trunk.blocks(tokens))  # type: ignore[no-any-return]

    def trace(self, tokens: Tensor, value_blocks: Sequence[int] = ()) -> Traced:
        """Values of norm1's output by the last third of qkv; timm's final norm on everything."""
        traced = _through(self._trunk.blocks, tokens, value_blocks, _timm_values)
        return _each(traced, self._trunk.norm)

    def pool(self, hidden: Tensor) -> Tensor:
        """timm's pooling, then open_clip's projection head."""
        return self._head(self._trunk.forward_head(hidden))  # type: ignore[no-any-return]

    def patches(self, hidden: Tensor) -> Tensor:
        """Patch tokens after the final norm."""
        return self._patch_norm(hidden[:, self.prefix :])  # type: ignore[no-any-return]


class Positions:
    """Position embeddings, interpolated to any grid; the last grids' are kept, a line has one or a few."""

    _KEPT = 64

    def __init__(self, native: Tensor, grid: Grid, prefix: int) -> None:
        self._native = native
        self._grid = grid
        self._prefix = prefix
        self._known: dict[Grid, Tensor] = {}

    def on(self, grid: Grid) -> Tensor:
        """(1, prefix + P, c) for a grid, the tower's own untouched.

        Without antialias: the shipped tower was trained and measured so.
        """
        if grid == self._grid:
            return self._native
        if grid not in self._known:
            if len(self._known) >= self._KEPT:
                self._known.clear()
            self._known[grid] = resample_abs_pos_embed(
                self._native,
                new_size=[grid.rows, grid.cols],
                old_size=[self._grid.rows, self._grid.cols],
                num_prefix_tokens=self._prefix,
                antialias=False,
            )
        return self._known[grid]


def middle_blocks(depth: int) -> tuple[int, ...]:
    """The blocks, counted from 1, after a half and after three quarters of the tower.

    Their patch tokens still say where something is and what it looks like; the last ones say what it is.
    """
    return tuple(sorted({depth // 2, 3 * depth // 4} - {0, depth}))


def _through(
    blocks: nn.Sequential | nn.ModuleList,
    tokens: Tensor,
    value_blocks: Sequence[int],
    values_of: Callable[[Any, Tensor], Tensor],
) -> Traced:
    """All blocks one by one, and what is kept on the way."""
    middle, values = [], []
    depth = len(blocks)
    for number, block in enumerate(blocks, start=1):
        if number in value_blocks:
            values.append(values_of(block, tokens))
        tokens = block(tokens)
        if number in middle_blocks(depth):
            middle.append(tokens)
    return Traced(tokens, middle, values)


def _each(traced: Traced, change: Callable[[Tensor], Tensor]) -> Traced:
    return Traced(
        change(traced.hidden),
        [change(kept) for kept in traced.middle],
        [change(value) for value in traced.values],
    )


def _open_clip_values(block: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - open_clip is untyped
    attention = block.attn
    width = tokens.shape[-1]
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias[-width:]
    values = functional.linear(block.ln_1(tokens), attention.in_proj_weight[-width:], bias)
    return block.ls_1(attention.out_proj(values))  # type: ignore[no-any-return]


def _timm_values(block: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - timm is untyped
    attention = block.attn
    width = attention.proj.in_features
    bias = None if attention.qkv.bias is None else attention.qkv.bias[-width:]
    values = functional.linear(block.norm1(tokens), attention.qkv.weight[-width:], bias)
    return block.ls1(attention.proj(attention.norm(values)))  # type: ignore[no-any-return]


def _grid_of(patches: Tensor) -> Grid:
    return Grid(patches.shape[-2], patches.shape[-1])


def tower_of(visual: nn.Module, model_name: str) -> Tower:
    """The adapter for an open_clip model's image tower.

    Raises:
        BadInput: the tower is no vision transformer, so it has no tokens to drop.
    """
    if isinstance(visual, VisionTransformer):
        return OpenClipTower(visual)
    if isinstance(visual, TimmModel) and isinstance(visual.trunk, timm.models.VisionTransformer):
        return TimmTower(visual)
    advice = "its image tower is no vision transformer, so windows cannot be cut from it; choose a ViT"
    raise BadInput("model", "name", model_name, advice)
