"""How well a prompt set's two sides stand apart on given images (Sec. 4.2, cross-semantic ambiguity)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from alfa.adaptation import TextEmbeddings, adapt


@dataclass(frozen=True, slots=True)
class SideOverlap:
    """One number of each kind per image.

    Attributes:
        overlap: share of the two similarity intervals' union that both cover; 0 apart, 1 the same.
        kept_normal: normal prompts that contextual scoring keeps.
        kept_abnormal: abnormal prompts that it keeps.
        side_was_empty: whether a side would have lost all its prompts and kept them all instead.
    """

    overlap: tuple[float, ...]
    kept_normal: tuple[int, ...]
    kept_abnormal: tuple[int, ...]
    side_was_empty: tuple[bool, ...]


def side_overlap(image: Tensor, text: TextEmbeddings, k: float) -> SideOverlap:
    """Compare both sides' similarity intervals (Eq. 2-3) and filter by contextual score (Eq. 4).

    Args:
        image: f(x), (B, d), unit.
        text: the prompt set's embeddings.
        k: slope of Eq. 4.
    """
    adapted = adapt(image, text, k)
    empty = adapted.normal_was_empty | adapted.abnormal_was_empty
    return SideOverlap(
        overlap=tuple(_interval_overlap(image @ text.normal.T, image @ text.abnormal.T).tolist()),
        kept_normal=tuple(adapted.kept_normal.sum(dim=1).tolist()),
        kept_abnormal=tuple(adapted.kept_abnormal.sum(dim=1).tolist()),
        side_was_empty=tuple(empty.tolist()),
    )


def _interval_overlap(d_normal: Tensor, d_abnormal: Tensor) -> Tensor:
    """Intersection over union of [min, max] of both, (B,)."""
    low_n, high_n = d_normal.aminmax(dim=1)
    low_a, high_a = d_abnormal.aminmax(dim=1)
    both = (torch.minimum(high_n, high_a) - torch.maximum(low_n, low_a)).clamp_min(0)
    union = torch.maximum(high_n, high_a) - torch.minimum(low_n, low_a)
    # Two single equal points are the same interval, of length 0.
    return torch.where(union > 0, both / union, torch.ones_like(union))
