"""What makes a plain vision tower's patch tokens comparable with text: a projection and an attention pool.

A CLIP tower is trained so that its class token meets the text. A tower that never saw text (the embedded
model's DINOv2) is brought into a joint space by its patch tokens instead: the tokens of a few blocks side by
side, linearly projected. An image's or a window's embedding is then their mean, weighted towards the tokens
that lie along one fixed query, so that a defect of a few patches is not averaged away.

The last coordinate of the joint space is the same for everything that is seen. It gives text an offset:
cosines of good and of defective patches to any direction are seldom on either side of 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CONSTANT = 0.5


class PatchHead(nn.Module):
    """Patch tokens -> joint space.

    Args:
        blocks: the tower's blocks, counted from 1, whose tokens go in, in this order.
        width: c, of a token.
        dim: d, of the joint space, the constant coordinate included.
        sharpness: of the pool's softmax; 0 is the plain mean.
    """

    query: Tensor

    def __init__(self, blocks: Sequence[int], width: int, dim: int, sharpness: float) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.sharpness = sharpness
        self.projection = nn.Linear(len(self.blocks) * width, dim - 1, bias=False)
        self.register_buffer("query", torch.zeros(dim - 1))

    def patches(self, levels: Sequence[Tensor]) -> Tensor:
        """(n, P, d) unit embeddings.

        Args:
            levels: per block (n, P, c), unit.
        """
        return with_constant(functional.normalize(self.projection(torch.cat(list(levels), dim=-1)), dim=-1))

    def pool(self, patches: Tensor) -> Tensor:
        """(n, P, d) unit embeddings -> (n, d), unit."""
        varying = functional.normalize(patches[..., :-1], dim=-1)
        weights = torch.softmax(self.sharpness * (varying @ self.query), dim=1)
        return with_constant(functional.normalize((weights[:, None] @ varying).squeeze(1), dim=-1))


def with_constant(varying: Tensor) -> Tensor:
    """(..., d - 1) unit rows -> (..., d), unit, whose last coordinate is `CONSTANT`."""
    share = (1 - CONSTANT**2) ** 0.5
    return torch.cat([share * varying, torch.full_like(varying[..., :1], CONSTANT)], dim=-1)
