"""The patch head and the targets of the text tower, in closed form from labelled patch tokens.

Within each domain (a set of photographs, or a drawn family) defective patches are compared with good ones of
the same domain, so that what differs from domain to domain cancels. Directions in which good patches vary are
shrunk, strongly regularised: with few domains, what separates good from defective in all of them lies near
the plain difference of the means.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tools.alfa_mini.defects import KINDS
from tools.alfa_mini.features import Picture
from tools.alfa_mini.plan import Plan
from tools.alfa_mini.sets import Domain

_Joint = Callable[[Tensor], Tensor]

# Part of a patch's area from which it is defective; between 0 and this it says nothing.
_DEFECTIVE = 0.3
# Share of the defective patches in the scatter that is shrunk.
_DEFECTIVE_SHARE = 0.3
_TOP_SHARE = 0.02
_GOOD_STRIDE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """What the text tower is trained to meet; vectors of the joint space, unit length.

    Attributes:
        projection: (d, blocks * c), of the patch head.
        direction: (d,), from good to defective patches; the pool's query.
        verdict: (d,), the same, moved so that images on the boundary lie at 0.
        kinds: (K, d), what sets a kind of defect apart from the others.
        classes: noun -> (d,), what sets its parts apart from others.
    """

    projection: Tensor
    direction: Tensor
    verdict: Tensor
    kinds: Tensor
    classes: dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Patch tokens of one domain, (n, blocks * c) float32.

    Attributes:
        weight: of the domain.
        good: of good pictures.
        defective: one entry for real, one for rendered defects, where there are any.
        kinds: the rendered ones by kind.
    """

    weight: float
    good: Tensor
    defective: list[Tensor]
    kinds: dict[int, Tensor]


def fit(found: Sequence[Domain], pictures: Sequence[Sequence[Picture]], plan: Plan) -> Alignment:
    """Projection, directions and class vectors from all domains.

    Args:
        found: the domains.
        pictures: those of each domain, in the same order.
        plan: `shrinking` and the classes' share.
    """
    rows = [_rows(domain, seen) for domain, seen in zip(found, pictures, strict=True)]
    projection = _projection(rows, plan.shrinking)

    def joint(tokens: Tensor) -> Tensor:
        return functional.normalize(tokens.float() @ projection.T, dim=-1)

    goods = torch.stack([joint(each.good).mean(0) for each in rows])
    weights = torch.tensor([each.weight for each in rows])[:, None]
    differences = torch.stack(
        [
            torch.stack([joint(part).mean(0) for part in each.defective]).mean(0) - good
            for each, good in zip(rows, goods, strict=True)
        ]
    )
    direction = functional.normalize((weights * differences).sum(0), dim=0)
    centre = functional.normalize((weights * goods).sum(0), dim=0)
    return Alignment(
        projection=projection,
        direction=direction,
        verdict=_through_zero(direction, centre, found, pictures, joint),
        kinds=_kind_directions(rows, goods, direction, joint),
        classes=_class_directions(found, goods),
    )


def _rows(domain: Domain, pictures: Sequence[Picture]) -> _Rows:
    defective: defaultdict[bool, list[Tensor]] = defaultdict(list)
    kinds: defaultdict[int, list[Tensor]] = defaultdict(list)
    for picture in pictures:
        marked = picture.tokens[picture.labels >= _DEFECTIVE]
        if len(marked):
            defective[picture.rendered].append(marked)
        if len(marked) and picture.rendered:
            kinds[picture.kind].append(marked)
    good = [picture.tokens[::_GOOD_STRIDE] for picture in pictures if not picture.abnormal]
    return _Rows(
        weight=domain.weight,
        good=torch.cat(good).float(),
        defective=[torch.cat(parts).float() for parts in defective.values()],
        kinds={kind: torch.cat(parts).float() for kind, parts in kinds.items()},
    )


def _projection(rows: Sequence[_Rows], shrinking: float) -> Tensor:
    """(d, d) symmetric inverse root of the scatter within domains, plus `shrinking` times its mean."""
    total = sum(each.weight for each in rows)
    scatter = torch.stack([each.weight / total * _scatter(each) for each in rows]).sum(0)
    scatter += shrinking * scatter.diagonal().mean() * torch.eye(len(scatter))
    spread, axes = torch.linalg.eigh(scatter)
    root = (axes * spread.rsqrt()) @ axes.T
    return root / root.diagonal().mean()  # type: ignore[no-any-return]


def _scatter(rows: _Rows) -> Tensor:
    defective = torch.stack([_covariance(part) for part in rows.defective]).mean(0)
    return (1 - _DEFECTIVE_SHARE) * _covariance(rows.good) + _DEFECTIVE_SHARE * defective


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows)


def _through_zero(
    direction: Tensor,
    centre: Tensor,
    found: Sequence[Domain],
    pictures: Sequence[Sequence[Picture]],
    joint: _Joint,
) -> Tensor:
    """The direction turned towards or from the good centre until the mean boundary of the domains is at 0.

    A domain's boundary lies midway between the highest patches of its good and of its defective pictures.
    """
    boundaries, heights, weights = [], [], []
    for domain, seen in zip(found, pictures, strict=True):
        means: defaultdict[bool, list[Tensor]] = defaultdict(list)
        along = []
        for picture in seen:
            tokens = joint(picture.tokens)
            highest = (tokens @ direction).topk(max(1, round(_TOP_SHARE * len(tokens))))
            means[picture.abnormal].append(highest.values.mean())
            along.append((tokens[highest.indices] @ centre).mean())
        boundaries.append(torch.stack([torch.stack(values).mean() for values in means.values()]).mean())
        heights.append(torch.stack(along).mean())
        weights.append(domain.weight)
    share = torch.tensor(weights) / sum(weights)
    boundary, height = (torch.stack(values) @ share for values in (boundaries, heights))
    return functional.normalize(direction - boundary / height * centre, dim=0)


def _kind_directions(rows: Sequence[_Rows], goods: Tensor, direction: Tensor, joint: _Joint) -> Tensor:
    """(K, d): difference to the good patches of the same domain, less what all kinds have in common."""
    sums = torch.zeros(len(KINDS), goods.shape[1])
    for each, good in zip(rows, goods, strict=True):
        for kind, tokens in each.kinds.items():
            sums[kind] += each.weight * functional.normalize(joint(tokens).mean(0) - good, dim=0)
    kinds = functional.normalize(sums, dim=1)
    apart = kinds - kinds.mean(0) - ((kinds - kinds.mean(0)) @ direction)[:, None] * direction
    return functional.normalize(apart, dim=1)


def _class_directions(found: Sequence[Domain], goods: Tensor) -> dict[str, Tensor]:
    """Noun -> where its good parts lie, less where all lie; varied pictures are of the same class."""
    members: defaultdict[str, list[Tensor]] = defaultdict(list)
    for domain, good in zip(found, goods, strict=True):
        for noun in domain.classes:
            members[noun].append(good - goods.mean(0))
    return {noun: functional.normalize(torch.stack(of).mean(0), dim=0) for noun, of in members.items()}
