"""The anomaly scores: Eq. 10 (image), Eq. 11 (windows) and Eq. 12 (both together).

A softmax over two classes is the sigmoid of their logit difference; written so, it neither overflows nor
loses the order of the scores to 0/0 when the temperature is small.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alfa.adaptation import AdaptedPrompts
from alfa.windows import WindowLayout, harmonic_aggregate, harmonic_mean_levels


def softmax_score(logit_difference: Tensor, temperature: float) -> Tensor:
    """exp(a / tau) / (exp(a / tau) + exp(n / tau)) from a - n, in float32; the form of Eq. 1, 10 and 11.

    The paper prints no temperature (tau = 1); cosines need one to spread.
    """
    return torch.sigmoid(logit_difference.float() / temperature)


def global_score(image: Tensor, adapted: AdaptedPrompts, temperature: float) -> Tensor:
    """S_G (Eq. 10): (B,) from f(x), (B, d), and the image's two text vectors."""
    return softmax_score((image * adapted.direction).sum(dim=1), temperature)


def local_map(logits: Sequence[Tensor], layouts: Sequence[WindowLayout], temperature: float) -> Tensor:
    """The map of averaged S_L (Eq. 11) per patch: harmonic over covering windows, then over levels.

    Args:
        logits: logit differences per level, (B, N_level); a level beyond the layouts is the patch level.
        layouts: of the windows, in the order of `logits`.
        temperature: tau.

    Returns:
        (B, P), in [0, 1].
    """
    scores = [softmax_score(level, temperature) for level in logits]
    windows = [
        harmonic_aggregate(level, layout)
        for level, layout in zip(scores[: len(layouts)], layouts, strict=True)
    ]
    # A patch is covered by itself alone; its coverage matrix, P x P, would take gigabytes on a fine grid.
    return harmonic_mean_levels([*windows, *scores[len(layouts) :]])


def highest(patch_map: Tensor, share: float) -> Tensor:
    """Mean of the highest patches: max S_L of Eq. 12 where the share is below one patch.

    A single patch may be noise; a defect of one patch still makes half of the mean of two.

    Args:
        patch_map: (B, P).
        share: of the patches, in [0, 1].

    Returns:
        (B,).
    """
    count = max(1, round(share * patch_map.shape[1]))
    return patch_map.topk(count, dim=1).values.mean(dim=1)


def image_score(s_global: Tensor, s_local_max: Tensor) -> Tensor:
    """S = (S_G + max S_L) / 2 (Eq. 12), (B,)."""
    return (s_global + s_local_max) / 2
