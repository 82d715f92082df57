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

from alfa.patch_head import CONSTANT
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
        projection: (d - 1, blocks * c), of the patch head.
        direction: (d - 1,), from good to defective patches; the pool's query.
        verdict: (d,), the same with the offset that puts images on the boundary at 0.
        centre: (d,), where good parts of all domains lie.
        kinds: (K, d), what sets a kind of defect apart from the others.
        classes: noun -> (d,), what sets its parts apart from others.
    """

    projection: Tensor
    direction: Tensor
    verdict: Tensor
    centre: Tensor
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
        verdict=_crossing_zero_at(direction, _boundary(direction, found, pictures, joint)),
        centre=_without_constant(centre),
        kinds=_without_constant(_kind_directions(rows, goods, direction, joint)),
        classes={noun: _without_constant(own) for noun, own in _class_directions(found, goods).items()},
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


def _boundary(
    direction: Tensor, found: Sequence[Domain], pictures: Sequence[Sequence[Picture]], joint: _Joint
) -> float:
    """How far along the direction the highest patches lie, midway between good and defective pictures."""
    boundaries = []
    for seen in pictures:
        heights: defaultdict[bool, list[Tensor]] = defaultdict(list)
        for picture in seen:
            along = joint(picture.tokens) @ direction
            heights[picture.abnormal].append(along.topk(max(1, round(_TOP_SHARE * len(along)))).values.mean())
        boundaries.append(torch.stack([torch.stack(values).mean() for values in heights.values()]).mean())
    weights = torch.tensor([domain.weight for domain in found])
    return float(torch.stack(boundaries) @ weights / weights.sum())


def _crossing_zero_at(direction: Tensor, boundary: float) -> Tensor:
    """(d,) unit: by the constant coordinate, its product with what lies at the boundary is 0."""
    constant = -boundary * (1 - CONSTANT**2) ** 0.5 / CONSTANT
    return functional.normalize(torch.cat([direction, torch.tensor([constant])]), dim=0)


def _without_constant(directions: Tensor) -> Tensor:
    """(..., d - 1) -> (..., d) that says nothing about the offset."""
    return functional.pad(directions, (0, 1))


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
