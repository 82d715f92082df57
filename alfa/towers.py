"""Image towers behind one small interface: tokens in, pooled embedding and patch tokens out.

open_clip builds two kinds: its own `VisionTransformer` and `TimmModel` around a timm ViT (SigLIP, DINOv2).
The method needs them taken apart, because a window is the tower run on the prefix (class) tokens plus that
window's patch tokens with their own positions (Sec. 4.3). The parts used here are private to open_clip; its
minor version is pinned, and a test compares a window of all patches with open_clip's own `encode_image`.
"""

from __future__ import annotations

from typing import Any, Protocol

import timm
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from alfa.errors import BadInput
from alfa.windows import Grid


class Tower(Protocol):
    """An image tower in its four steps.

    Attributes:
        grid: the patch grid.
        image_size: (h, w) in pixels.
        prefix: tokens in front of the patch tokens: 1 with a class token, 0 without, more with registers.
        patch_dim: c, the width of a patch token.
    """

    grid: Grid
    image_size: tuple[int, int]
    prefix: int
    patch_dim: int

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 3, h, w) normalised pixels -> (B, prefix + P, c) tokens with their positions."""

    def transform(self, tokens: Tensor) -> Tensor:
        """(n, prefix + any number of patches, c) -> the same after all blocks."""

    def pool(self, hidden: Tensor) -> Tensor:
        """Transformed tokens -> (n, d) in the joint space, not yet unit length."""

    def patches(self, hidden: Tensor) -> Tensor:
        """Transformed tokens -> (n, patches, c), patch tokens after the tower's final norm."""


class OpenClipTower:
    """open_clip's own vision transformer; one class token."""

    prefix = 1

    def __init__(self, visual: VisionTransformer) -> None:
        self._visual: Any = visual
        self.grid = Grid(*visual.grid_size)
        self.image_size: tuple[int, int] = tuple(visual.image_size)
        self.patch_dim: int = visual.positional_embedding.shape[1]
        # CoCa's attentional pooler leaves no norm of the tower's own width.
        self._patch_norm = visual.ln_post if visual.attn_pool is None else nn.Identity()

    def embed(self, pixels: Tensor) -> Tensor:
        """Class token, positions and ln_pre are in `_embeds` already."""
        return self._visual._embeds(pixels)  # type: ignore[no-any-return]

    def transform(self, tokens: Tensor) -> Tensor:
        """All residual blocks."""
        return self._visual.transformer(tokens)  # type: ignore[no-any-return]

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
        self.grid = Grid(*trunk.patch_embed.grid_size)
        self.image_size: tuple[int, int] = tuple(trunk.patch_embed.img_size)
        self.prefix: int = trunk.num_prefix_tokens
        self.patch_dim: int = trunk.embed_dim
        # Average pooling models norm after the pool only; their patch tokens take that norm.
        self._patch_norm = trunk.fc_norm if isinstance(trunk.norm, nn.Identity) else nn.Identity()

    def embed(self, pixels: Tensor) -> Tensor:
        """Patch projection, prefix tokens, positions, norm_pre."""
        return self._trunk.norm_pre(self._trunk._pos_embed(self._trunk.patch_embed(pixels)))  # type: ignore[no-any-return]

    def transform(self, tokens: Tensor) -> Tensor:
        """All blocks and timm's final norm."""
        return self._trunk.norm(self._trunk.blocks(tokens))  # type: ignore[no-any-return]

    def pool(self, hidden: Tensor) -> Tensor:
        """timm's pooling, then open_clip's projection head."""
        return self._head(self._trunk.forward_head(hidden))  # type: ignore[no-any-return]

    def patches(self, hidden: Tensor) -> Tensor:
        """Patch tokens after the final norm."""
        return self._patch_norm(hidden[:, self.prefix :])  # type: ignore[no-any-return]


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
