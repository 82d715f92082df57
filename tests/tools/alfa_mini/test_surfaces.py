"""Drawn surfaces: the same for the same seed, different for another, and no defect on them."""

from __future__ import annotations

import numpy as np
import pytest

from tools.alfa_mini.sets import FAMILY_CLASSES, Source, read
from tools.alfa_mini.surfaces import FAMILIES, SIDE, draw


@pytest.mark.parametrize("family", FAMILIES)
def test_a_surface_follows_from_its_seed(family: str) -> None:
    """Training can be repeated, and no two pictures are alike."""
    first, again, other = (draw(family, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (SIDE, SIDE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() > 2


def test_every_family_is_called_something() -> None:
    """A family without a class word would teach none."""
    assert set(FAMILY_CLASSES) == set(FAMILIES)


def test_a_pair_differs_where_the_defect_is() -> None:
    """Both of a pair show the same surface; outside the mask nothing changed."""
    good = read(Source(None, "brushed", seed=5))
    bad = read(Source(None, "brushed", seed=5, rendered_kind="stain"))
    assert bad.mask is not None
    assert bad.mask.any()
    changed = np.abs(good.image.astype(int) - bad.image.astype(int)).max(axis=2) > 60
    assert changed.any()
    assert not (changed & (bad.mask == 0)).any()
