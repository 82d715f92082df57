"""The comparison of banks judges what the product's own bank says, on images it was not taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from alfa.backbone import Backbone
from alfa.evaluation.datasets import read_dataset
from alfa.memory import MemoryBank
from tools.compare_banks import VARIANTS, Judged, Variant, judge, measure

DEFAULT = next(variant for variant in VARIANTS if "default" in variant.name)


@pytest.fixture
def judged(tmp_path: Path, tiny_backbone: Backbone) -> Sequence[Judged]:
    """Three good images to teach, two good ones and two with a square to judge."""
    generator = np.random.default_rng(0)
    root = tmp_path / "plate"
    for folder, count in (
        ("train/good", 3),
        ("test/good", 2),
        ("test/square", 2),
        ("ground_truth/square", 2),
    ):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            image = generator.integers(100, 140, (48, 36, 3), dtype=np.uint8)
            name = f"{number}.png"
            if folder.startswith("ground_truth"):
                image, name = np.zeros_like(image), f"{number}_mask.png"
            if folder.endswith("square"):
                image[12:24, 12:24] = 255
            cv2.imwrite(str(root / folder / name), image)
    return judge(read_dataset(root), tiny_backbone, limit=100)


def test_the_default_row_is_the_products_own_bank(judged: Sequence[Judged], tiny_backbone: Backbone) -> None:
    """Up to its unit and the rounding of its rows."""
    good = [each.features for each in judged if not each.image.abnormal]
    taught = [3, 1]
    bank = MemoryBank.build([good[index] for index in taught], tiny_backbone, ["x", "y"])
    for each in judged:
        if each.image.abnormal:
            expected = bank.distances(each.features)[0] * bank.info.typical
            found = DEFAULT.join(each.distances[:, taught].amin(dim=1))
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-2)


def test_taught_images_are_not_judged(judged: Sequence[Judged], tiny_backbone: Backbone) -> None:
    """Five good images, four taught: a score that is 0 on taught ones alone tells nothing any more."""
    seen = []

    def remember(levels: torch.Tensor) -> torch.Tensor:
        seen.append(levels)
        return levels[-1]

    image, pixel, pro = measure(judged, Variant("seen", remember), tiny_backbone, k=4, seed=0)
    assert len(seen) == 3
    assert all(0 <= figure <= 1 for figure in (image, pixel, pro))


def test_a_perfect_map_has_perfect_figures(judged: Sequence[Judged], tiny_backbone: Backbone) -> None:
    """The square covers one patch exactly, and its mask is known."""
    marked = [
        Judged(
            each.image, each.features, (each.distances * 0).index_fill_(2, torch.tensor([4]), 1.0), each.truth
        )
        if each.image.abnormal
        else Judged(each.image, each.features, each.distances * 0, each.truth)
        for each in judged
    ]
    variant = Variant("as given", lambda levels: levels[-1])
    image, pixel, _ = measure(marked, variant, tiny_backbone, k=1, seed=0)
    assert image == 1
    assert pixel > 0.95
