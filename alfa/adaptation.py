"""Run-time prompt adaptation (Sec. 4.2, Algorithm 1): which prompts count for one image.

No parameter is changed: per image, prompts whose similarity cannot tell the two labels apart are left out,
and the rest of each side is averaged into one direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from alfa.errors import BadInput
from alfa.prompting.promptset import PromptSet, sides
from alfa.settings import DEFAULT_QUANTILE, ContextualForm


class TextEncoder(Protocol):
    """The part of a backbone that reads text."""

    @property
    def context_length(self) -> int:
        """Longest prompt in tokens, start and end tokens included."""

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """(n, d) unit embeddings."""

    def token_counts(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt, start and end tokens included, before any cut."""


@dataclass(frozen=True, slots=True, eq=False)
class TextEmbeddings:
    """The unit embeddings g(t) of one prompt set.

    Attributes:
        normal: (N+, d), the normal prompts t+.
        abnormal: (N-, d), the abnormal prompts t-.
        descriptors: (K, d), for explanations only (Sec. 5.4).
    """

    normal: Tensor
    abnormal: Tensor
    descriptors: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedPrompts:
    """The two text directions of each image of a batch, and which prompts they were made of.

    Attributes:
        normal: f_T+, (B, d), unit.
        abnormal: f_T-, (B, d), unit.
        kept_normal: (B, N+) bool, prompts in T+.
        kept_abnormal: (B, N-) bool, prompts in T-.
        normal_was_empty: (B,) bool, no normal prompt told the labels apart, so all were kept.
        abnormal_was_empty: (B,) bool, the same for the abnormal side.
    """

    normal: Tensor
    abnormal: Tensor
    kept_normal: Tensor
    kept_abnormal: Tensor
    normal_was_empty: Tensor
    abnormal_was_empty: Tensor

    @property
    def direction(self) -> Tensor:
        """D = f_T- - f_T+, (B, d): all that the scores of Eq. 10 and 11 need."""
        return self.abnormal - self.normal


def embed_prompts(encoder: TextEncoder, prompt_set: PromptSet, where: str = "prompts") -> TextEmbeddings:
    """Encode both sides (T_CS and T_G) and the descriptors of a prompt set in one batch.

    Args:
        encoder: the backbone.
        prompt_set: the prompts of one class.
        where: the prompt file, for the error message.

    Raises:
        BadInput: a prompt is longer than the model's context; cut silently, it would mean something else.
    """
    normal, abnormal = sides(prompt_set)
    descriptors = list(prompt_set.descriptors)
    prompts = [*normal, *abnormal, *descriptors]
    _require_context(encoder, prompts, where)
    parts = [len(normal), len(abnormal), len(descriptors)]
    return TextEmbeddings(*torch.split(encoder.encode_text(prompts), parts))


def adapt(
    image: Tensor,
    text: TextEmbeddings,
    k: float = 1.0,
    form: ContextualForm = "paper",
    quantile: float = DEFAULT_QUANTILE,
) -> AdaptedPrompts:
    """Algorithm 1 for a batch: similarities (Eq. 2-3), contextual scores (Eq. 4), filter, unit means.

    A side that would become empty keeps all its prompts.

    Args:
        image: f(x), (B, d), unit.
        text: the prompt set's embeddings.
        k: slope of Eq. 4.
        form: `paper`: a prompt stays if it lies outside the other side's interval [min, max]; `robust`: the
            same with an interval between quantiles, so that one outlier cannot widen it; `none`: all stay.
        quantile: for `robust`, the part of the similarities cut off at each end, in [0, 0.5).
    """
    d_normal, d_abnormal = image @ text.normal.T, image @ text.abnormal.T
    if form == "none":
        s_normal, s_abnormal = torch.ones_like(d_normal), torch.ones_like(d_abnormal)
    else:
        cut = quantile if form == "robust" else 0.0
        s_normal, s_abnormal = contextual_scores(d_normal, d_abnormal, k, cut)
    kept_normal, normal_was_empty = _keep(s_normal)
    kept_abnormal, abnormal_was_empty = _keep(s_abnormal)
    return AdaptedPrompts(
        normal=_unit_mean(kept_normal, text.normal),
        abnormal=_unit_mean(kept_abnormal, text.abnormal),
        kept_normal=kept_normal,
        kept_abnormal=kept_abnormal,
        normal_was_empty=normal_was_empty,
        abnormal_was_empty=abnormal_was_empty,
    )


def contextual_scores(
    d_normal: Tensor, d_abnormal: Tensor, k: float = 1.0, quantile: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The contextual score S_c of every prompt (Eq. 4), from the similarities of Eq. 2 and 3.

    S_c = 2 sigma(k |D+ - D-|) - 1 = tanh(k |D+ - D-| / 2), D the distance to an interval. Eq. 4 as printed
    is sigma(k |D+ - D-|) and gives 1/2 at distance zero, where the text wants 0 and filters on it; this
    form gives the 0 and 1 of the text. A prompt lies inside its own side's interval, so its own D is 0 and
    only the distance to the other side's interval remains. With quantiles a prompt may lie outside its own
    interval as well; that would let one in that lies deep in the other side's, so its own D stays out.

    Args:
        d_normal: d+ = <f(x), g(t+)>, (B, N+), Eq. 2.
        d_abnormal: d- = <f(x), g(t-)>, (B, N-), Eq. 3.
        k: slope.
        quantile: the interval runs from this quantile to 1 minus it; 0 is the paper's [min, max].

    Returns:
        S_c of the normal (B, N+) and of the abnormal prompts (B, N-), each in [0, 1].
    """
    s_normal = torch.tanh(k * _distance_to_interval(d_normal, d_abnormal, quantile) / 2)
    s_abnormal = torch.tanh(k * _distance_to_interval(d_abnormal, d_normal, quantile) / 2)
    return s_normal, s_abnormal


def _distance_to_interval(points: Tensor, side: Tensor, quantile: float) -> Tensor:
    """D of Eq. 4: distance of each point (B, n) to the interval of its row of `side` (B, m)."""
    low, high = _interval(side, quantile)
    return torch.maximum(low - points, points - high).clamp_min(0)


def _interval(side: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    """Both ends per row of (B, m), (B, 1) each."""
    if quantile == 0.0:
        return side.aminmax(dim=1, keepdim=True)
    ends = torch.tensor([quantile, 1 - quantile], dtype=side.dtype, device=side.device)
    low, high = torch.quantile(side, ends, dim=1, keepdim=True)
    return low, high


def _keep(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Prompts with S_c > 0, (B, n) bool; all of them in the rows where there are none, (B,) bool."""
    kept = scores > 0
    was_empty = ~kept.any(dim=1)
    return kept | was_empty[:, None], was_empty


def _unit_mean(kept: Tensor, embeddings: Tensor) -> Tensor:
    """Per image, the mean of the kept embeddings, at unit length; their sum points the same way."""
    return functional.normalize(kept.to(embeddings.dtype) @ embeddings, dim=1)


def _require_context(encoder: TextEncoder, prompts: Sequence[str], where: str) -> None:
    for prompt, tokens in zip(prompts, encoder.token_counts(prompts), strict=True):
        if tokens > encoder.context_length:
            advice = f"has {tokens} tokens, the model reads {encoder.context_length}; shorten it"
            raise BadInput(where, "prompt", prompt, advice)
