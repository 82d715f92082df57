"""AUROC over images and pixels, on cases small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alfa.evaluation.metrics import image_auroc, pixel_auroc


def test_image_auroc_counts_pairs() -> None:
    """Of 2 x 2 pairs three are in order: 0.75."""
    assert image_auroc([False, False, True, True], [0.1, 0.6, 0.5, 0.9]) == pytest.approx(0.75)


def test_a_tie_counts_half() -> None:
    """Scores that do not differ tell nothing."""
    assert image_auroc([False, True], [0.5, 0.5]) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.booleans(), st.integers(-1000, 1000)), min_size=2, max_size=40))
def test_image_auroc_depends_on_the_order_only(pairs: list[tuple[bool, int]]) -> None:
    """Any rising function of the scores leaves it as it is; a falling one turns it round."""
    abnormal = [label for label, _ in pairs]
    if all(abnormal) or not any(abnormal):
        return
    scores = [float(score) for _, score in pairs]
    value = image_auroc(abnormal, scores)
    assert image_auroc(abnormal, [score**3 + 7 for score in scores]) == pytest.approx(value)
    assert image_auroc(abnormal, [-score for score in scores]) == pytest.approx(1 - value)


def test_pixels_of_all_images_are_ranked_together() -> None:
    """A map that is right within each image but not across them loses pairs."""
    mask = np.array([[True, False]])
    low, high = np.array([[0.2, 0.1]]), np.array([[0.9, 0.5]])
    # Defective 0.2 and 0.9 against 0.1 and 0.5: three of four pairs.
    assert pixel_auroc([mask, mask], [low, high]) == pytest.approx(0.75)


def test_masks_come_to_the_size_of_the_map() -> None:
    """A mask of four times the side marks the same quarter of the map."""
    mask = np.zeros((8, 8), bool)
    mask[:4, :4] = True
    assert pixel_auroc([mask], [np.array([[1.0, 0.0], [0.0, 0.0]])]) == pytest.approx(1.0)


def test_a_defect_thinner_than_a_map_pixel_is_not_lost() -> None:
    """One pixel of 64 still marks the map pixel it lies in."""
    mask = np.zeros((16, 16), bool)
    mask[3, 3] = True
    assert pixel_auroc([mask], [np.array([[1.0, 0.0], [0.0, 0.0]])]) == pytest.approx(1.0)


def test_pixels_of_one_kind_have_no_auroc() -> None:
    """Without a defective pixel there is nothing to rank."""
    with pytest.raises(ValueError, match="one kind"):
        pixel_auroc([np.zeros((2, 2), bool)], [np.zeros((2, 2))])
