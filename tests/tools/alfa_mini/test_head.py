"""The closed-form head on tokens whose answer is known."""

from __future__ import annotations

import torch
from torch import Tensor

from alfa.patch_head import with_constant
from tools.alfa_mini.defects import KINDS
from tools.alfa_mini.features import Picture
from tools.alfa_mini.head import Alignment, fit
from tools.alfa_mini.plan import Plan
from tools.alfa_mini.sets import Domain

_DIM, _PATCHES = 8, 50
_COMMON, _FIRST_KIND, _SECOND_KIND = 1, 2, 3


def _axis(index: int) -> Tensor:
    return torch.eye(_DIM)[index]


def _tokens(generator: torch.Generator, centre: Tensor) -> Tensor:
    return centre + 0.05 * torch.randn(_PATCHES, _DIM, generator=generator)


def _domain(name: str, noun: str, own: int, generator: torch.Generator) -> tuple[Domain, list[Picture]]:
    """Good pictures around e0 + e_own; on defective ones 10 patches move along e1 and their kind's axis."""
    centre = _axis(0) + 0.5 * _axis(own)
    pictures = [
        Picture(_tokens(generator, centre).half(), torch.zeros(_PATCHES), False, False, -1) for _ in range(4)
    ]
    for kind, axis in ((0, _FIRST_KIND), (1, _SECOND_KIND)):
        tokens, labels = _tokens(generator, centre), torch.zeros(_PATCHES)
        tokens[:10] += 0.6 * _axis(_COMMON) + 0.3 * _axis(axis)
        labels[:10] = 1
        pictures.append(Picture(tokens.half(), labels, True, True, kind))
    return Domain(name, name, (noun,), 1.0, ()), pictures


def _fitted() -> Alignment:
    generator = torch.Generator().manual_seed(0)
    made = [_domain(name, noun, own, generator) for name, noun, own in (("a", "nut", 4), ("b", "bolt", 5))]
    return fit([domain for domain, _ in made], [pictures for _, pictures in made], Plan())


def test_the_direction_is_what_defects_of_all_domains_share() -> None:
    """Along e1, not along what sets one domain apart from the other."""
    direction = _fitted().direction
    assert direction.argmax() == _COMMON
    assert direction[_COMMON] > 0.85
    assert direction[4:6].abs().max() < 0.2


def test_the_verdict_is_zero_between_good_and_defective_pictures() -> None:
    """The highest patches of good pictures lie below, those of defective ones above."""
    alignment = _fitted()
    generator = torch.Generator().manual_seed(1)
    _, pictures = _domain("c", "nut", 4, generator)
    for picture in pictures:
        joint = torch.nn.functional.normalize(picture.tokens.float() @ alignment.projection.T, dim=1)
        highest = (with_constant(joint) @ alignment.verdict).max()
        assert (highest > 0) == picture.abnormal


def test_a_kind_is_what_sets_it_apart_from_the_other_kinds() -> None:
    """Neither what all defects share nor the other kind's axis; kinds that nobody rendered stay out of it."""
    kinds = _fitted().kinds
    assert kinds.shape == (len(KINDS), _DIM + 1)
    assert kinds[0, _FIRST_KIND] > kinds[0, _SECOND_KIND] + 0.5
    assert kinds[1, _SECOND_KIND] > kinds[1, _FIRST_KIND] + 0.5


def test_a_class_is_what_sets_its_parts_apart_from_others() -> None:
    """The nouns point to where the good parts of their own domains lie."""
    classes = _fitted().classes
    assert set(classes) == {"nut", "bolt"}
    assert classes["nut"][4] - classes["nut"][5] > 1
    assert classes["bolt"][5] - classes["bolt"][4] > 1
