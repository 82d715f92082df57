"""The fine-grained aligner (Sec. 4.3): text taken from the global into each window's local space.

For each window, a map W carries the two text vectors over; Eq. 11 then compares the window with them. Only
the logit difference <f_L, W f-> - <f_L, W f+> = <f_L, W D> is needed, D = f- - f+, because W is linear; so no
form here ever builds a d x d matrix. A form is a sum of terms: W = I + what each term adds, and a term only
says what it adds to the plain <f_L, D>. What each is worth on real images is in docs/method.md.

W f+ and W f- are not brought back to unit length. W differs from the identity by what separates the window
from the image, and how much longer W f- becomes than W f+ is part of that; dividing each by its own length
would also break the linearity above, and with it W v_G = v_L as a statement about scores.

A rotation would not do: for every orthogonal W with W v_G = v_L, <v_L, W f> = <v_G, f>, and all windows would
get the image's own score. Nor would a translation f + (v_L - v_G): it is the same for both texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, get_args

import torch
from torch import Tensor
from torch.nn import functional

from alfa.adaptation import AdaptedPrompts
from alfa.errors import BadInput
from alfa.features import ImageFeatures, ValueVectors
from alfa.settings import AlignerName, uses_windows


class Term(Protocol):
    """One summand of W - I."""

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """<f_L, (W - I) D> of every window of `features.windows[level]`.

        Args:
            features: a batch of B images.
            level: index of the scale.
            direction: D = f- - f+, (B, d).

        Returns:
            (B, N).
        """


@dataclass(frozen=True, slots=True)
class RankOne:
    """gamma (v_L - v_G) v_G^T / (v_G . v_G) on the joint-space embeddings.

    With gamma = 1 the W nearest to the identity that takes v_G to v_L. For unit v_G and v_L it adds
    gamma (1 - <v_L, v_G>) <v_G, D>: the image's own logit, the more, the further the window is from it.
    """

    gamma: float

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """In closed form, without the matrix."""
        distance = 1 - _project(features.windows[level], features.image)
        return self.gamma * distance * _image_logit(features, direction)


class ValueRankOne:
    """The rank-one map between value vectors (Eq. 7) of what the embedding is read from, in the joint space.

    v_G is of the image pass, v_L of the window pass; unlike embeddings, values have not looked at the other
    tokens of their block.
    """

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """<f_L, v_L - v_G> <v_G, D>."""
        values = _values(features)
        v_global = values.tokens[:, 0]
        moved = values.agreement[level][..., 0] - _project(features.windows[level], v_global)
        return moved * (v_global * direction).sum(dim=1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Ridge:
    """(V_L - V_G)^T (V_G V_G^T + lambda I)^-1 V_G: W V_G^T = V_L^T in the ridge sense, drawn to the identity.

    Rows of V are the values of what the embedding is read from and of the window's own patches, in the image
    pass (V_G) and in the window pass (V_L). Of the window pass only V_L f_L is needed, so features hold no
    more.
    """

    strength: float

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """One system of (s*s + 1) unknowns a window, solved as one batch."""
        values = _values(features)
        v_global = values.tokens[:, _own_tokens(features, level)]
        moved = values.agreement[level] - torch.einsum("bntd,bnd->bnt", v_global, features.windows[level])
        gram = v_global @ v_global.mT
        gram.diagonal(dim1=-2, dim2=-1).add_(self.strength)
        weights: Tensor = torch.linalg.solve(gram, torch.einsum("bntd,bd->bnt", v_global, direction))
        return (moved * weights).sum(dim=-1)


@dataclass(frozen=True, slots=True)
class Residual:
    """-beta v_L v_G^T: the window counts by what it has beyond its image, <v_L - beta v_G, D>."""

    beta: float

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """The same for all windows of an image."""
        return (-self.beta * _image_logit(features, direction)).expand(features.windows[level].shape[:2])


@dataclass(frozen=True, slots=True)
class Centred:
    """-beta v_L m^T, m the mean of the image's own windows: <v_L - beta m, D>."""

    beta: float

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """The same for all windows of an image."""
        plain = _project(features.windows[level], direction)
        return -self.beta * plain.mean(dim=1, keepdim=True).expand_as(plain)


@dataclass(frozen=True, slots=True)
class ValueSum:
    """gamma v_L u^T, u the window's own value vector: <v_L + gamma u, D>."""

    gamma: float

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """gamma <u, D>."""
        return self.gamma * _project(_values(features).windows[level], direction)


@dataclass(frozen=True, slots=True)
class Contrast:
    """gamma (1 - mean cosine to the windows of the same image most like it); no text and no map is in it.

    Windows that overlap are not asked: they share tokens and are alike for that reason.

    Attributes:
        gamma: weight.
        nearest: how many windows are asked; fewer where the image has no more.
    """

    gamma: float
    nearest: int

    def gain(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """The same whatever the text; 0 for a window that overlaps all others."""
        windows = features.windows[level]
        apart = ~_overlaps(features, level)
        likeness = (windows @ windows.mT).masked_fill(~apart, -torch.inf)
        asked = likeness.topk(min(self.nearest, windows.shape[1]), dim=2).values
        known = asked.isfinite()
        mean = torch.where(known, asked, 0).sum(dim=2) / known.sum(dim=2).clamp_min(1)
        return torch.where(known.any(dim=2), self.gamma * (1 - mean), 0)


_TERMS: dict[str, Term] = {
    "rank-one": RankOne(1.0),
    "rank-one-half": RankOne(0.5),
    "rank-one-double": RankOne(2.0),
    "value": ValueRankOne(),
    "ridge": Ridge(1.0),
    "residual": Residual(0.5),
    "centred": Centred(0.5),
    "value-sum": ValueSum(1.0),
    "contrast": Contrast(1.0, 5),
}


@dataclass(frozen=True, slots=True)
class Aligner:
    """One form of W = I + its terms; without terms, windows meet the global text as in WinCLIP."""

    terms: tuple[Term, ...]

    def logits(self, features: ImageFeatures, level: int, direction: Tensor) -> Tensor:
        """<f_L, W D> of every window of `features.windows[level]`.

        Args:
            features: a batch of B images.
            level: index of the scale.
            direction: D = f- - f+, (B, d).

        Returns:
            (B, N), positive where the window looks abnormal.
        """
        logits = _project(features.windows[level], direction)
        for term in self.terms:
            logits = logits + term.gain(features, level, direction)
        return logits


def aligner(name: str) -> Aligner:
    """The form of that name; a name joined by + is the sum of its terms.

    Raises:
        BadInput: no such form.
    """
    if name not in get_args(AlignerName):
        raise BadInput("model", "aligner", name, f"choose one of {', '.join(get_args(AlignerName))}")
    return Aligner(tuple(_TERMS[part] for part in name.split("+") if part != "none"))


def local_logits(features: ImageFeatures, adapted: AdaptedPrompts, form: Aligner, local: str) -> list[Tensor]:
    """Logit differences of Eq. 11 for every level: the window scales, then the patch level.

    The patch level is scored without W: its projection was made to meet the text, so it has no gap left to
    bridge.

    Args:
        features: a batch of B images.
        adapted: their text vectors.
        form: the aligner for the window levels.
        local: which levels, as in the settings.

    Returns:
        For each level (B, N_level), before the temperature.
    """
    direction = adapted.direction
    levels: list[Tensor] = []
    if uses_windows(local, features.patch_joint is not None):
        levels += [form.logits(features, level, direction) for level in range(len(features.windows))]
    if local != "windows" and features.patch_joint is not None:
        levels.append(_project(features.patch_joint, direction))
    return levels


def _project(local: Tensor, vector: Tensor) -> Tensor:
    """Inner products of (B, N, d) with their image's (B, d): (B, N)."""
    return torch.einsum("bnd,bd->bn", local, vector)


def _image_logit(features: ImageFeatures, direction: Tensor) -> Tensor:
    """<v_G, D>, (B, 1)."""
    return (features.image * direction).sum(dim=1, keepdim=True)


def _values(features: ImageFeatures) -> ValueVectors:
    if features.values is None:
        raise ValueError("this aligner reads value vectors; load the backbone with settings that name it")
    return features.values


def _own_tokens(features: ImageFeatures, level: int) -> Tensor:
    """(N, 1 + s*s): where a window's values are in `ValueVectors.tokens`: the first one, then its patches."""
    return functional.pad(features.layouts[level].indices + 1, (1, 0))


def _overlaps(features: ImageFeatures, level: int) -> Tensor:
    """(N, N) bool: whether two windows share a patch; each overlaps itself."""
    coverage = features.layouts[level].coverage
    return coverage.T @ coverage > 0
