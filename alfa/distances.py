"""Distances between patch tokens: per level to the nearest row of good parts, and the levels joined.

A level is a block of the tower whose patch tokens a memory bank keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alfa.features import ImageFeatures

# Similarities held at once: 4 MB, which a processor's cache holds until their maximum is taken, whatever the
# batch and the bank; a page fault a similarity block costs a fifth of the product that fills it.
_SIMILARITIES_AT_ONCE = 1 << 20
# A logarithm needs a floor; this one is far below what good parts differ by, float16 rounding is about 1e-7.
_SMALLEST_DISTANCE = 1e-5
# Beside each middle block, which places defects better; the last one still knows textures better.
_WEIGHT_OF_LAST_BLOCK = 0.5


def nearest_distance(queries: Tensor, rows: Tensor) -> Tensor:
    """(1 - cos) / 2 to the nearest row, by matrix products over chunks of the rows.

    Args:
        queries: (B, N, dim), unit.
        rows: (M, dim), unit, M >= 1.

    Returns:
        (B, N) float32, in [0, 1].
    """
    flat = queries.flatten(0, 1).float()
    chunks = torch.split(rows, max(1, _SIMILARITIES_AT_ONCE // len(flat)))
    similarities = flat.new_empty(len(flat) * len(chunks[0]))
    best = flat.new_full((len(flat),), -1.0)
    for chunk in chunks:
        block = similarities[: len(flat) * len(chunk)].view(len(flat), len(chunk))
        torch.mm(flat, chunk.float().T, out=block)
        torch.maximum(best, block.amax(dim=1), out=best)
    return ((1 - best) / 2).clamp(0, 1).view(queries.shape[:2])


def joined(levels: Sequence[Tensor] | Tensor) -> Tensor:
    """Weighted geometric mean of the levels' distances.

    Args:
        levels: distances after each block, the last block last, of any one shape.
    """
    weights = [1.0] * (len(levels) - 1) + [_WEIGHT_OF_LAST_BLOCK]
    logs = [
        weight * distances.clamp_min(_SMALLEST_DISTANCE).log()
        for weight, distances in zip(weights, levels, strict=True)
    ]
    return (torch.stack(logs).sum(dim=0) / sum(weights)).exp()


def level_tokens(features: ImageFeatures, blocks: Sequence[int]) -> dict[str, Tensor]:
    """Level name -> (B, P, c), the patch tokens after that block.

    Args:
        features: a batch of B images.
        blocks: of which tower's blocks they are, the last block last.
    """
    tokens = (*features.middle, features.patches)
    return {level_name(block): level for block, level in zip(blocks, tokens, strict=True)}


def level_name(block: int) -> str:
    """Under which a bank keeps the rows of a block."""
    return f"block-{block}"
