"""The embeddings of a batch of images, f(x), f(m o x) and patch tokens: all that is read of the backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from alfa.windows import Grid, WindowLayout


@dataclass(frozen=True, slots=True, eq=False)
class ValueVectors:
    """Value vectors (Eq. 7) of a batch of B images in the joint space, unit length; for aligners that ask.

    They are of the blocks that the model's embeddings are made of: the last one, or those of its patch head.
    In front of the patches stands what the embedding is read from: the class token, or the patches pooled.

    Attributes:
        tokens: (B, 1 + P, d), image pass.
        windows: per scale (B, N_s, d), window pass: what stands in front.
        agreement: per scale (B, N_s, 1 + s*s): inner products of the window's embedding with the values of
            its own tokens in the window pass.
    """

    tokens: Tensor
    windows: tuple[Tensor, ...]
    agreement: tuple[Tensor, ...]

    def select(self, index: Tensor | Sequence[int] | slice) -> ValueVectors:
        """Those of some images of the batch."""
        return ValueVectors(
            tokens=self.tokens[index],
            windows=tuple(level[index] for level in self.windows),
            agreement=tuple(level[index] for level in self.agreement),
        )

    def clone(self) -> ValueVectors:
        """A copy in memory of its own."""
        return ValueVectors(
            tokens=self.tokens.clone(),
            windows=tuple(level.clone() for level in self.windows),
            agreement=tuple(level.clone() for level in self.agreement),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """The embeddings of a batch of B images of one size; all rows float32 of unit length.

    Attributes:
        grid: P patches in rows and columns.
        image: f(x), (B, d).
        windows: per scale, (B, N_s, d).
        layouts: per scale, which windows these are.
        patches: (B, P, c), the tower's own patch tokens, after the last block.
        patch_joint: (B, P, d), patch tokens in the joint space, or None where the model has none.
        values: value vectors, where the aligner needs them.
        middle: (B, P, c) each, patch tokens after the tower's middle blocks, for the memory bank.
    """

    grid: Grid
    image: Tensor
    windows: tuple[Tensor, ...]
    patches: Tensor
    patch_joint: Tensor | None
    values: ValueVectors | None = None
    middle: tuple[Tensor, ...] = ()
    layouts: tuple[WindowLayout, ...] = ()

    def select(self, index: Tensor | Sequence[int] | slice) -> ImageFeatures:
        """The features of some images of the batch, by positions, mask or slice."""
        return ImageFeatures(
            grid=self.grid,
            image=self.image[index],
            windows=tuple(level[index] for level in self.windows),
            patches=self.patches[index],
            patch_joint=None if self.patch_joint is None else self.patch_joint[index],
            values=None if self.values is None else self.values.select(index),
            middle=tuple(level[index] for level in self.middle),
            layouts=self.layouts,
        )

    def clone(self) -> ImageFeatures:
        """A copy in memory of its own."""
        return replace(
            self,
            image=self.image.clone(),
            windows=tuple(level.clone() for level in self.windows),
            patches=self.patches.clone(),
            patch_joint=None if self.patch_joint is None else self.patch_joint.clone(),
            values=None if self.values is None else self.values.clone(),
            middle=tuple(level.clone() for level in self.middle),
        )
