"""The fine-grained aligner (Sec. 4.3): text taken from the global into each window's local space.

For each window, a map W with W v_G = v_L carries the two text vectors over; Eq. 11 then compares the window
with them. Only the logit difference <f_L, W f-> - <f_L, W f+> = <f_L, W D> is needed, D = f- - f+, because W
is linear; so no form here ever builds a d x d matrix.

W f+ and W f- are not brought back to unit length. W differs from the identity by what separates the window
from the image, and how much longer W f- becomes than W f+ is part of that; dividing each by its own length
would also break the linearity above, and with it W v_G = v_L as a statement about scores.

A rotation would not do: for every orthogonal W with W v_G = v_L, <v_L, W f> = <v_G, f>, and all windows would
get the image's own score.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from alfa.adaptation import AdaptedPrompts
from alfa.backbone import ImageFeatures
from alfa.errors import BadInput


class Aligner(Protocol):
    """One form of W. It reads what it needs from the image features itself."""

    def logits(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """<f_L, W D> of every window of `features.windows[level]`.

        Args:
            features: a batch of B images.
            level: index of the scale.
            direction: D = f- - f+, (B, d).

        Returns:
            (B, N), positive where the window looks abnormal.
        """


class NoAligner:
    """W = I: windows against the global text vectors, as WinCLIP does."""

    def logits(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """<f_L, D>."""
        return _project(features.windows[level], direction)


class RankOneAligner:
    """W = I + (v_L - v_G) v_G^T / (v_G . v_G), on the joint-space embeddings: the nearest W to the identity.

    With unit v_G and v_L: <v_L, W D> = <v_L, D> + (1 - <v_L, v_G>) <v_G, D>. The second term adds the image's
    own logit the more, the further the window is from the image.
    """

    def logits(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """<v_L, W D> in closed form."""
        image, windows = features.image, features.windows[level]
        distance = 1 - _project(windows, image)
        return _project(windows, direction) + distance * (image * direction).sum(dim=1, keepdim=True)


_ALIGNERS: dict[str, Aligner] = {"none": NoAligner(), "rank-one": RankOneAligner()}


def aligner(name: str) -> Aligner:
    """The form of that name: `rank-one` or `none`.

    Raises:
        BadInput: no such form.
    """
    if name not in _ALIGNERS:
        raise BadInput("model", "aligner", name, f"choose one of {', '.join(sorted(_ALIGNERS))}")
    return _ALIGNERS[name]


def local_logits(
    features: ImageFeatures, adapted: AdaptedPrompts, form: Aligner, patch_level: bool = True
) -> list[Tensor]:
    """Logit differences of Eq. 11 for every level: the window scales, then the patch level if there is one.

    The patch level is scored without W: its projection was trained to meet the text, so it has no gap left
    to bridge.

    Args:
        features: a batch of B images.
        adapted: their text vectors.
        form: the aligner for the window levels.
        patch_level: whether to score the text-aligned patch tokens where the model has them.

    Returns:
        For each level (B, N_level), before the temperature.
    """
    direction = adapted.direction
    levels = [form.logits(features, level, direction) for level in range(len(features.windows))]
    if patch_level and features.patch_joint is not None:
        levels.append(_project(features.patch_joint, direction))
    return levels


def _project(local: Tensor, vector: Tensor) -> Tensor:
    """Inner products of (B, N, d) with their image's (B, d): (B, N)."""
    return torch.einsum("bnd,bd->bn", local, vector)
