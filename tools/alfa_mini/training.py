"""The text tower learns where captions belong in the patch head's space.

The image side is fixed before (head.py), and so is what a caption should mean there: a caption of a defective
part lies on the defective side, turned towards the kinds of defect it names and the class it speaks of; a
caption of a good part lies opposite. The tower is trained to meet these targets; it never sees an image.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from tools.alfa_mini import captions
from tools.alfa_mini.defects import KINDS
from tools.alfa_mini.head import Alignment
from tools.alfa_mini.plan import Plan

TEMPERATURE = 0.07
_GOOD, _DEFECTIVE, _NEITHER = -1.0, 1.0, 0.0
# Classes alone and defects alone, beside sentences about good and defective parts.
_CLASS_CAPTIONS = 0.1
_DEFECT_CAPTIONS = 0.15
_KNOWN_NOUNS = 0.5


class TextSide(nn.Module):
    """open_clip's text tower, read without the padding."""

    def __init__(self, text: Any) -> None:  # noqa: ANN401 - open_clip is untyped
        super().__init__()
        self.text = text
        self._tokenizer = SimpleTokenizer()
        self._mask: Tensor = text.attn_mask

    def read(self, prompts: list[str]) -> Tensor:
        """(n, d) unit embeddings. Tokens after the end token never reach it, so they are not computed."""
        tokens = self._tokenizer(prompts)
        longest = int((tokens != 0).sum(1).max())
        self.text.attn_mask = self._mask[:longest, :longest]
        embedded = self.text(tokens[:, :longest])
        self.text.attn_mask = self._mask
        return functional.normalize(embedded, dim=-1)


def train(side: TextSide, alignment: Alignment, plan: Plan) -> TextSide:
    """Train in place and return it; captions follow from the plan's seed."""
    rng = random.Random(plan.seed)
    torch.manual_seed(plan.seed)
    trained = [parameter for parameter in side.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, plan.steps, pct_start=0.1)
    side.train()
    for _ in track(range(plan.steps), "text tower"):
        drawn = [_caption(rng, alignment) for _ in range(plan.captions)]
        targets = torch.stack(
            [_target(text, noun, verdict, alignment, plan) for text, noun, verdict in drawn]
        )
        loss = (1 - (side.read([text for text, _, _ in drawn]) * targets).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
    return side.eval()


def _caption(rng: random.Random, alignment: Alignment) -> tuple[str, str, float]:
    """A caption, the noun it is about, and its verdict."""
    known = sorted(alignment.classes)
    noun = rng.choice(known) if rng.random() < _KNOWN_NOUNS else captions.random_noun(rng)
    chance = rng.random()
    if chance < _CLASS_CAPTIONS:
        return captions.class_caption(rng, noun), noun, _NEITHER
    if chance < _CLASS_CAPTIONS + _DEFECT_CAPTIONS:
        return captions.defect_caption(rng, noun, KINDS), noun, _DEFECTIVE
    if rng.random() < 0.5:
        return captions.normal_caption(rng, noun), noun, _GOOD
    return captions.abnormal_caption(rng, noun), noun, _DEFECTIVE


def _target(text: str, noun: str, verdict: float, alignment: Alignment, plan: Plan) -> Tensor:
    """(d,) unit: verdict, what all parts share, kinds of defect named, class."""
    target = verdict * plan.verdict_share * alignment.verdict + plan.centre_share * alignment.centre
    if noun in alignment.classes and noun in text:
        target = target + plan.class_share * alignment.classes[noun]
    kinds = captions.kinds_named(text) if verdict == _DEFECTIVE else []
    if kinds:
        named = alignment.kinds[[KINDS.index(kind) for kind in kinds]].mean(0)
        target = target + plan.kind_share * functional.normalize(named, dim=0)
    return functional.normalize(target, dim=0)
