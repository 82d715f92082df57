"""Image towers behind one small interface: tokens in, pooled embedding and patch tokens out.

open_clip builds two kinds: its own `VisionTransformer` and `TimmModel` around a timm ViT (SigLIP, DINOv2).
The method needs them taken apart, because a window is the tower run on the prefix (class) tokens plus that
window's patch tokens with their own positions (Sec. 4.3). The parts used here are private to open_clip; its
minor version is pinned, and a test compares a window of all patches with open_clip's own `encode_image`.

An image of another size than the tower was trained with gets its positions interpolated, so that a long part
keeps its shape and a large one its detail.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.layers import Attention, resample_abs_pos_embed
from torch import Tensor, nn

from alfa.blocks import Block, OpaqueBlock, PlainBlock
from alfa.errors import BadInput
from alfa.passes import Tower
from alfa.windows import Grid


class OpenClipTower:
    """open_clip's own vision transformer; one class token."""

    prefix = 1

    def __init__(self, visual: VisionTransformer) -> None:
        self._visual: Any = visual
        self.blocks = _blocks(visual.transformer.resblocks)
        self.image_size: tuple[int, int] = tuple(visual.image_size)
        self.patch_size: int = visual.patch_size[0]
        self.patch_dim: int = visual.positional_embedding.shape[1]
        self._positions = Positions(visual.positional_embedding[None], Grid(*visual.grid_size), self.prefix)
        self.pools_first = visual.attn_pool is None and visual.pool_type == "tok"
        # CoCa's attentional pooler leaves no norm of the tower's own width.
        self._patch_norm = visual.ln_post if visual.attn_pool is None else nn.Identity()

    def embed(self, pixels: Tensor) -> Tensor:
        """Class token, patch projection, positions, ln_pre."""
        visual = self._visual
        patches = visual.conv1(pixels)
        class_token = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).mT], dim=1)
        return visual.ln_pre(tokens + self.positions(_grid_of(patches)))  # type: ignore[no-any-return]

    def positions(self, grid: Grid) -> Tensor:
        """Of class token and patches."""
        return self._positions.on(grid)

    def norm(self, rows: Tensor) -> Tensor:
        """None: ln_post belongs to the pooling, which may come before it."""
        return rows

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
        self.blocks = _blocks(trunk.blocks)
        self.image_size: tuple[int, int] = tuple(visual.image_size)
        self.patch_size: int = trunk.patch_embed.patch_size[0]
        self.prefix: int = trunk.num_prefix_tokens
        self.patch_dim: int = trunk.embed_dim
        self.pools_first = trunk.attn_pool is None and trunk.global_pool == "token"
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
        positions = self.positions(_grid_of(patches))
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

    def positions(self, grid: Grid) -> Tensor:
        """Of the patches, and of the prefix tokens where they have any."""
        return self._positions.on(grid)

    def norm(self, rows: Tensor) -> Tensor:
        """timm's final norm."""
        return self._trunk.norm(rows)  # type: ignore[no-any-return]

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


def _blocks(modules: nn.Sequential | nn.ModuleList) -> list[Block]:
    return [block_of(module) for module in modules]


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


def block_of(block: Any) -> Block:  # noqa: ANN401 - either library's
    """The steps of one of open_clip's or timm's blocks, which keeps its weights; in evaluation mode.

    LayerScale is multiplied into the projections before it, in place: the same function, two passes over all
    rows less.
    """
    # Exactly these kinds: a subclass may do something else in its forward.
    if type(block) is ResidualAttentionBlock and block.attn.in_proj_weight is not None:
        return _open_clip_block(block)
    if type(block) is timm.models.vision_transformer.Block and type(block.attn) is Attention:
        return _timm_block(block)
    return OpaqueBlock(block)


def _open_clip_block(block: Any) -> Block:  # noqa: ANN401 - open_clip is untyped
    attention = block.attn
    _absorb_scale(block, "ls_1", attention.out_proj)
    _absorb_scale(block, "ls_2", block.mlp.c_proj)
    none = nn.Identity()
    return PlainBlock(
        norm_in=block.ln_1,
        weight=attention.in_proj_weight,
        bias=attention.in_proj_bias,
        heads=attention.num_heads,
        norms=(none, none, none),
        out=attention.out_proj,
        norm_mlp=block.ln_2,
        mlp=block.mlp,
    )


def _timm_block(block: Any) -> Block:  # noqa: ANN401 - timm is untyped
    attention = block.attn
    if getattr(attention, "gate", None) is not None or type(block.mlp) is not timm.layers.Mlp:
        return OpaqueBlock(block)
    _absorb_scale(block, "ls1", attention.proj)
    _absorb_scale(block, "ls2", block.mlp.fc2)
    return PlainBlock(
        norm_in=block.norm1,
        weight=attention.qkv.weight,
        bias=attention.qkv.bias,
        heads=attention.num_heads,
        norms=(attention.q_norm, attention.k_norm, attention.norm),
        out=attention.proj,
        norm_mlp=block.norm2,
        mlp=block.mlp,
    )


@torch.no_grad()
def _absorb_scale(block: Any, name: str, projection: Any) -> None:  # noqa: ANN401 - either library's
    """Multiply a LayerScale into the projection before it and leave an identity in its place."""
    scale = getattr(block, name)
    if isinstance(scale, nn.Identity):
        return
    projection.weight.mul_(scale.gamma[:, None])
    if projection.bias is not None:
        projection.bias.mul_(scale.gamma)
    setattr(block, name, nn.Identity())
