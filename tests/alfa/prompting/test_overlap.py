"""Overlap of the two sides, by hand."""

from __future__ import annotations

import torch

from alfa.adaptation import TextEmbeddings
from alfa.prompting.overlap import side_overlap

# In one dimension a similarity is image times prompt.
IMAGE = torch.tensor([[1.0]])


def _text(normal: list[float], abnormal: list[float]) -> TextEmbeddings:
    return TextEmbeddings(torch.tensor(normal)[:, None], torch.tensor(abnormal)[:, None], torch.empty(0, 1))


def test_half_overlapping_sides() -> None:
    """[0, 0.5] and [0.25, 0.75]: a third of the union is shared, one prompt a side tells them apart."""
    seen = side_overlap(IMAGE, _text([0.0, 0.5], [0.25, 0.75]), k=1.0)
    assert seen.overlap == (torch.tensor(1 / 3).item(),)
    assert (seen.kept_normal, seen.kept_abnormal, seen.side_was_empty) == ((1,), (1,), (False,))


def test_sides_apart() -> None:
    """Nothing shared, everything kept."""
    seen = side_overlap(IMAGE, _text([0.0, 0.25], [0.5, 0.75]), k=1.0)
    assert seen.overlap == (0.0,)
    assert (seen.kept_normal, seen.kept_abnormal, seen.side_was_empty) == ((2,), (2,), (False,))


def test_the_same_interval() -> None:
    """All shared: no prompt tells the sides apart, so all are kept and that is said."""
    seen = side_overlap(IMAGE, _text([0.25, 0.5], [0.25, 0.5]), k=1.0)
    assert seen.overlap == (1.0,)
    assert (seen.kept_normal, seen.kept_abnormal, seen.side_was_empty) == ((2,), (2,), (True,))


def test_one_image_each() -> None:
    """A batch gives one number an image."""
    images = torch.tensor([[1.0], [-1.0]])
    seen = side_overlap(images, _text([0.0, 0.5], [0.25, 0.75]), k=1.0)
    assert len(seen.overlap) == len(seen.kept_normal) == len(seen.side_was_empty) == 2
