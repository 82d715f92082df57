"""Locked-image tuning: a text tower is trained on the frozen tower's cached features.

What is trained is what the method computes: the unit means of a few sampled prompts of each label, their
difference D, and the logits <f, D> / tau of images, windows (plain and through the rank-one aligner) and
patch tokens against the labels. Two smaller terms give class words and defect words their meaning.

The projections are fixed, not trained: the joint space is the tower's own space twice, one half for class
tokens (images and windows), one for patch tokens. In exploratory runs on held-out training sets, trained
projections ordered images worse; so the text side learns one direction for each half, as a linear probe
would, and the text's unit length bounds it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from alfa.aligner import aligner
from alfa.backbone import ImageFeatures
from alfa.windows import Grid
from tools.alfa_mini import captions
from tools.alfa_mini.defects import KINDS
from tools.alfa_mini.features import Features
from tools.alfa_mini.sets import SETS

TEMPERATURE = 0.07
_AT_ONCE = 64
_OWN_NOUNS = 2
_MOMENT_STRIDE = 7


@dataclass(frozen=True, slots=True)
class Place:
    """When a patch or window counts.

    Attributes:
        defective: part of its area from which it is abnormal; between 0 and this it says nothing.
        highest: how many of the highest ones stand for their image.
    """

    defective: float
    highest: int


_PATCH = Place(defective=0.3, highest=5)
_WINDOW = Place(defective=0.2, highest=2)


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a training run: set by judgement, not tuned, and never by the development sets."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    steps: int = 300
    images: int = 48
    prompts: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    whitening: float = 10.0
    window_weight: float = 0.5
    hardest_weight: float = 0.1
    words_weight: float = 0.2
    seed: int = 0


class TextSide(nn.Module):
    """What is trained, open_clip's text tower, and the fixed projections it learns to meet."""

    def __init__(self, text: Any, patch_whitening: Tensor) -> None:  # noqa: ANN401 - open_clip is untyped
        super().__init__()
        self.text = text
        self._patch_whitening = patch_whitening
        self._tokenizer = SimpleTokenizer()
        self._mask: Tensor = text.attn_mask

    def read(self, prompts: list[str]) -> Tensor:
        """(n, 2c) unit embeddings. Tokens after the end token never reach it, so they are not computed."""
        tokens = self._tokenizer(prompts)
        longest = int((tokens != 0).sum(1).max())
        self.text.attn_mask = self._mask[:longest, :longest]
        embedded = self.text(tokens[:, :longest])
        self.text.attn_mask = self._mask
        return functional.normalize(embedded, dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """By the names of the model's file."""
        named = {f"text.{name}": tensor for name, tensor in self.text.state_dict().items()}
        own = torch.eye(len(self._patch_whitening))
        named["visual.head.proj.weight"] = torch.cat([own, torch.zeros_like(own)])
        named["patch_proj.weight"] = torch.cat([torch.zeros_like(own), self._patch_whitening])
        named["logit_scale"] = torch.tensor(1 / TEMPERATURE).log()
        return named


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Something of the joint space, (..., 2c), by its halves.

    Attributes:
        image: (..., c), where class tokens of images and windows are.
        patch: (..., c), where patch tokens are.
    """

    image: Tensor
    patch: Tensor


def halves(joint: Tensor) -> Halves:
    """Split the joint space."""
    return Halves(*joint.chunk(2, dim=-1))


def patch_whitening(features: Features, strength: float) -> Tensor:
    """(c, c) symmetric W that evens out the directions in which good patches of all sets differ.

    Args:
        features: of all samples.
        strength: 0 leaves patches as they are; large values whiten them whole.
    """
    moments = [
        _second_moment(features.patches[~features.abnormal & (features.group == group)])
        for group in range(len(SETS))
        if bool((features.group == group).any())
    ]
    spread, directions = torch.linalg.eigh(torch.stack(moments).mean(0))
    scale = (1 + strength * spread / spread.mean()).rsqrt()
    whitening: Tensor = (directions * scale) @ directions.T
    return whitening


def whitened(features: Features, whitening: Tensor) -> Features:
    """The same features with their patch tokens in the joint space's half."""
    parts = [_unit(part.float() @ whitening.T).half() for part in torch.split(features.patches, _AT_ONCE)]
    return replace(features, patches=torch.cat(parts))


def _second_moment(patches: Tensor) -> Tensor:
    rows = patches.reshape(-1, patches.shape[-1])[::_MOMENT_STRIDE].float()
    return rows.T @ rows / len(rows)


def train(side: TextSide, features: Features, plan: Plan) -> TextSide:
    """Train in place and return it; draws and captions follow from the plan's seed."""
    rng = random.Random(plan.seed)
    torch.manual_seed(plan.seed)
    trained = [parameter for parameter in side.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.learning_rate, plan.steps, pct_start=0.1)
    draw = BalancedDraw(features, plan.seed)
    side.train()
    for _ in track(range(plan.steps), "text side"):
        batch = features.select(draw(plan.images))
        loss = _loss(side, batch, rng, plan)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
    return side.eval()


class BalancedDraw:
    """Samples such that sets and labels come equally often, and real defects as often as rendered ones."""

    def __init__(self, features: Features, seed: int) -> None:
        label = features.abnormal.long() + (features.abnormal & features.rendered).long()
        # Label 0 good, 1 real defect, 2 rendered: weights 2, 1, 1; a set without real defects has 2, 0, 2.
        weights = torch.zeros(len(label))
        for group in range(len(SETS)):
            here = features.group == group
            if not here.any():
                continue
            present = [kind for kind in (1, 2) if bool((here & (label == kind)).any())]
            shares = {0: 0.5, **{kind: 0.5 / len(present) for kind in present}}
            for kind, share in shares.items():
                members = here & (label == kind)
                weights[members] = share / members.sum()
        self._weights = weights
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, count: int) -> Tensor:
        """(count,) positions."""
        return torch.multinomial(self._weights, count, replacement=True, generator=self._generator)


def _loss(side: TextSide, batch: Features, rng: random.Random, plan: Plan) -> Tensor:
    direction = halves(_directions(side, batch, rng, plan))
    image = batch.image.float()
    patches = batch.patches.float()
    patch_logits = (patches * direction.patch[:, None]).sum(2)
    return (
        _two_way((image * direction.image).sum(1), batch.abnormal.float())
        + plan.window_weight * _windows_loss(batch, direction.image)
        + _local_loss(patch_logits, batch.patch_labels, batch.abnormal, _PATCH, plan.hardest_weight)
        + plan.words_weight * _words_loss(side, image, patches, batch, rng)
    )


def _directions(side: TextSide, batch: Features, rng: random.Random, plan: Plan) -> Tensor:
    """D = f- - f+ of each sample, (B, d), from prompts on its class, a general noun or an unrelated one."""
    own = rng.sample(range(len(SETS)), _OWN_NOUNS)
    nouns = [
        captions.random_noun(rng),
        captions.random_noun(rng),
        *(rng.choice(SETS[group].classes) for group in own),
    ]
    prompts = [
        sentence(rng, noun)
        for noun in nouns
        for sentence in (captions.normal_caption, captions.abnormal_caption)
        for _ in range(plan.prompts)
    ]
    embedded = side.read(prompts).view(len(nouns), 2, plan.prompts, -1)
    # One prompt a side at times: single prompts must be right as well, not only their mean.
    used = rng.choice((1, 2, plan.prompts, plan.prompts))
    means = functional.normalize(embedded[:, :, :used].sum(2), dim=-1)
    directions = means[:, 1] - means[:, 0]
    general = [0, 1]
    choice = [
        own.index(group) + 2 if group in own and rng.random() < 0.7 else rng.choice(general)
        for group in batch.group.tolist()
    ]
    return directions[choice]


def _windows_loss(batch: Features, direction: Tensor) -> Tensor:
    """Both ways in which the product scores windows: as they are, and through the aligner."""
    image, windows = batch.image.float(), tuple(level.float() for level in batch.windows)
    side = math.isqrt(batch.patches.shape[1])
    seen = ImageFeatures(Grid(side, side), image, windows, batch.patches, patch_joint=None)
    losses = []
    for level, labels in enumerate(batch.window_labels):
        plain = (windows[level] * direction[:, None]).sum(2)
        aligned = aligner("rank-one").logits(seen, level, direction)
        losses += [_local_loss(logits, labels, batch.abnormal, _WINDOW, 0.0) for logits in (plain, aligned)]
    return torch.stack(losses).mean()


def _local_loss(logits: Tensor, labels: Tensor, abnormal: Tensor, place: Place, hardest: float) -> Tensor:
    """Labelled places, and per image the highest ones: the image score is a maximum over places.

    Args:
        logits: (B, N) differences, before the temperature.
        labels: (B, N) defective fractions, -1 where not known.
        abnormal: (B,) bool.
        place: what counts.
        hardest: weight of the highest places.
    """
    loss = 0.5 * _mean(_two_way_each(logits, 1.0), labels >= place.defective)
    loss = loss + 0.5 * _mean(_two_way_each(logits, 0.0), labels == 0)
    if hardest:
        highest = logits.topk(place.highest, dim=1).values.mean(1)
        loss = loss + hardest * _two_way(highest, abnormal.float())
    return loss


def _words_loss(
    side: TextSide, image: Tensor, patches: Tensor, batch: Features, rng: random.Random
) -> Tensor:
    """Class words at one step, defect words at another: reading captions is what a step costs."""
    if rng.random() < 0.5:
        return _class_loss(side, image, batch, rng)
    return _kind_loss(side, patches, batch, rng)


def _class_loss(side: TextSide, image: Tensor, batch: Features, rng: random.Random) -> Tensor:
    """Which set an image is of, by captions that only name the class."""
    text = halves(side.read([captions.class_caption(rng, rng.choice(each.classes)) for each in SETS])).image
    return functional.cross_entropy(image @ text.T / TEMPERATURE, batch.group)


def _kind_loss(side: TextSide, patches: Tensor, batch: Features, rng: random.Random) -> Tensor:
    """Which kind of defect is on the labelled patches, by captions that name it."""
    noun = captions.random_noun(rng)
    text = halves(side.read([captions.defect_caption(rng, noun, (kind,)) for kind in KINDS])).patch
    chosen = (batch.patch_labels >= _PATCH.defective) & batch.rendered[:, None]
    logits = patches[chosen] @ text.T / TEMPERATURE
    kinds = batch.kinds.long().argmax(1)[:, None].expand_as(chosen)[chosen]
    return functional.cross_entropy(logits, kinds) if len(kinds) else logits.sum()


def _two_way(logits: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits / TEMPERATURE, target)


def _two_way_each(logits: Tensor, target: float) -> Tensor:
    return functional.softplus(logits / TEMPERATURE * (1 - 2 * target))


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen ones; 0 where there are none."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _unit(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings, dim=-1)
