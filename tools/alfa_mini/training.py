"""Locked-image tuning: a text tower and two projections are trained on the frozen tower's cached features.

What is trained is what the method computes: the unit means of a few sampled prompts of each label, their
difference D, and the logits <f, D> / tau of images, windows (plain and through the rank-one aligner) and
patch tokens against the labels. Two smaller terms give class words and defect words their meaning.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.tokenizer import SimpleTokenizer
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from alfa.aligner import RankOneAligner
from alfa.backbone import ImageFeatures
from tools.alfa_mini import captions
from tools.alfa_mini.defects import KINDS
from tools.alfa_mini.features import Features
from tools.alfa_mini.sets import SETS

TEMPERATURE = 0.07
# Defective part of the area from which a place counts as abnormal; between 0 and this it says nothing.
_PATCH_DEFECTIVE = 0.3
_WINDOW_DEFECTIVE = 0.2
_HARDEST_PATCHES = 5
_HARDEST_WINDOWS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of a training run; chosen on held-out training sets, never on the development sets."""

    embed_dim: int = 128
    width: int = 128
    layers: int = 2
    heads: int = 4
    steps: int = 400
    images: int = 48
    prompts: int = 6
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    noise: float = 0.02
    seed: int = 0


class TextSide(nn.Module):
    """What is trained: open_clip's text tower, the image projection and the patch projection."""

    def __init__(self, text: Any, plan: Plan, patch_dim: int) -> None:  # noqa: ANN401 - open_clip is untyped
        super().__init__()
        self.text = text
        self.image_proj = nn.Linear(patch_dim, plan.embed_dim, bias=False)
        self.patch_proj = nn.Linear(patch_dim, plan.embed_dim, bias=False)
        for projection in (self.image_proj, self.patch_proj):
            nn.init.orthogonal_(projection.weight)
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

    def see(self, features: Features, noise: float = 0.0) -> ImageFeatures:
        """The samples in the joint space."""
        project = self.image_proj
        patches = features.patches.float()
        return ImageFeatures(
            image=_unit(project(_noisy(features.image, noise))),
            windows=tuple(_unit(project(_noisy(level, noise))) for level in features.windows),
            patches=patches,
            patch_joint=_unit(self.patch_proj(patches)),
        )

    def tensors(self) -> dict[str, Tensor]:
        """By the names of the model's file."""
        named = {f"text.{name}": tensor for name, tensor in self.text.state_dict().items()}
        named["visual.head.proj.weight"] = self.image_proj.weight
        named["patch_proj.weight"] = self.patch_proj.weight
        named["logit_scale"] = torch.tensor(1 / TEMPERATURE).log()
        return named


def train(side: TextSide, features: Features, plan: Plan) -> TextSide:
    """Train in place and return it; the same plan and features give the same weights on one machine."""
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
    seen = side.see(batch, plan.noise)
    directions = _directions(side, batch, rng, plan)
    anomalous = batch.abnormal.float()
    total = _two_way((seen.image * directions).sum(1), anomalous)
    total = total + _windows_loss(seen, batch, directions)
    assert seen.patch_joint is not None
    patch_logits = (seen.patch_joint * directions[:, None]).sum(2)
    total = total + _local_loss(
        patch_logits, batch.patch_labels, batch.abnormal, _PATCH_DEFECTIVE, _HARDEST_PATCHES
    )
    return total + 0.1 * _class_loss(side, seen, batch, rng) + 0.1 * _kind_loss(side, seen, batch, rng)


def _directions(side: TextSide, batch: Features, rng: random.Random, plan: Plan) -> Tensor:
    """D = f- - f+ of each sample, (B, d), from prompts on its class, a general noun or an unrelated one."""
    own = rng.sample(range(len(SETS)), 4)
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


def _windows_loss(seen: ImageFeatures, batch: Features, directions: Tensor) -> Tensor:
    """Both ways in which the product scores windows: as they are, and through the aligner."""
    losses = []
    for level, labels in enumerate(batch.window_labels):
        plain = (seen.windows[level] * directions[:, None]).sum(2)
        aligned = RankOneAligner().logits(seen, level, directions)
        losses += [
            _local_loss(logits, labels, batch.abnormal, _WINDOW_DEFECTIVE, _HARDEST_WINDOWS)
            for logits in (plain, aligned)
        ]
    return torch.stack(losses).mean()


def _local_loss(logits: Tensor, labels: Tensor, abnormal: Tensor, defective: float, hardest: int) -> Tensor:
    """Labelled places, and per image the highest ones: the image score is a maximum over places.

    Args:
        logits: (B, N) differences, before the temperature.
        labels: (B, N) defective fractions, -1 where not known.
        abnormal: (B,) bool.
        defective: the fraction from which a place counts.
        hardest: how many of the highest places stand for the image.
    """
    positive, negative = labels >= defective, labels == 0
    highest = logits.topk(hardest, dim=1).values.mean(1)
    return (
        0.3 * _mean(_two_way_each(logits, 1.0), positive)
        + 0.4 * _mean(_two_way_each(logits, 0.0), negative)
        + 0.3 * _two_way(highest, abnormal.float())
    )


def _class_loss(side: TextSide, seen: ImageFeatures, batch: Features, rng: random.Random) -> Tensor:
    """Which set an image is of, by captions that only name the class."""
    text = side.read([captions.class_caption(rng, rng.choice(each.classes)) for each in SETS])
    return functional.cross_entropy(seen.image @ text.T / TEMPERATURE, batch.group)


def _kind_loss(side: TextSide, seen: ImageFeatures, batch: Features, rng: random.Random) -> Tensor:
    """Which kind of defect is on the labelled patches, by captions that name it."""
    noun = captions.random_noun(rng)
    text = side.read([captions.defect_caption(rng, noun, (kind,)) for kind in KINDS])
    chosen = (batch.patch_labels >= _PATCH_DEFECTIVE) & batch.rendered[:, None]
    assert seen.patch_joint is not None
    logits = seen.patch_joint[chosen] @ text.T / TEMPERATURE
    kinds = batch.kinds.long().argmax(1)[:, None].expand_as(chosen)[chosen]
    return functional.cross_entropy(logits, kinds) if len(kinds) else logits.sum()


def _two_way(logits: Tensor, target: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits / TEMPERATURE, target)


def _two_way_each(logits: Tensor, target: float) -> Tensor:
    return functional.softplus(logits / TEMPERATURE * (1 - 2 * target))


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen ones; 0 where there are none."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


def _noisy(features: Tensor, noise: float) -> Tensor:
    features = features.float()
    return features + noise * torch.randn_like(features) if noise else features


def _unit(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings, dim=-1)
