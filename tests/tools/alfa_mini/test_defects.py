"""Rendered defects: the mask says where the picture was changed, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from tools.alfa_mini.defects import KINDS, render


def _picture(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    rng = np.random.default_rng(seed)
    picture = np.full((160, 200, 3), 120, np.uint8)
    picture[40:120, 50:150] = rng.integers(60, 200, (80, 100, 3))
    return picture


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_is_visible_and_marked(kind: str) -> None:
    """The marked place differs from the good picture."""
    good = _picture(1)
    painted, mask = render(good, _picture(2), kind, np.random.default_rng(5))
    assert mask.any()
    assert painted.shape == good.shape
    changed = np.abs(painted.astype(int) - good).mean(axis=2)
    assert changed[mask > 0].mean() > 5 * changed[mask == 0].mean()


def test_the_same_seed_renders_the_same_defect() -> None:
    """Training can be repeated."""
    first, second = (render(_picture(1), _picture(2), "crack", np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_the_good_picture_stays_as_it_is() -> None:
    """It serves as the defect's good twin."""
    good = _picture(1)
    before = good.copy()
    render(good, _picture(2), "stain", np.random.default_rng(3))
    assert np.array_equal(good, before)
