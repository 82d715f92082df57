"""Banks of nested choices, and what makes two variants the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from alfa.backbone import Backbone
from alfa.errors import BadInput
from alfa.evaluation.datasets import Dataset
from alfa.evaluation.variants import Read, ShotBanks, recipe_variant, shot_variants
from alfa.images import read_image
from alfa.inspector import score
from alfa.recipe import Recipe
from alfa.settings import ModelSettings


@pytest.fixture
def banks(tiny_backbone: Backbone, dataset: Dataset) -> ShotBanks:
    return ShotBanks(tiny_backbone, dataset, (0, 1, 2, 4), seeds=3)


def test_there_is_a_bank_of_every_k_and_seed(banks: ShotBanks) -> None:
    """But none of 0."""
    assert banks.pairs == tuple((k, seed) for k in (1, 2, 4) for seed in range(3))


def test_choices_of_a_seed_are_nested(banks: ShotBanks, dataset: Dataset) -> None:
    """The first is among the first two, and all four are the training images."""
    for seed in range(3):
        four = banks.taught(4, seed)
        assert set(four) == set(dataset.train)
        assert (banks.taught(2, seed), banks.taught(1, seed)) == (four[:2], four[:1])


def test_seeds_choose_differently_and_the_same_again(
    banks: ShotBanks, tiny_backbone: Backbone, dataset: Dataset
) -> None:
    """Three seeds are not all the same order; a second object chooses as the first did."""
    assert len({banks.taught(4, seed) for seed in range(3)}) > 1
    again = ShotBanks(tiny_backbone, dataset, (2,), seeds=3)
    assert all(again.taught(2, seed) == banks.taught(2, seed) for seed in range(3))


def test_more_shots_than_images_are_refused(tiny_backbone: Backbone, dataset: Dataset) -> None:
    """Naming the class and how many there are."""
    with pytest.raises(BadInput, match=r"--shots = 5: plate has 4 images"):
        ShotBanks(tiny_backbone, dataset, (5,), seeds=1)


def test_each_image_is_read_once_for_all_banks(banks: ShotBanks, read: Read) -> None:
    """Nine banks out of four images; teaching again reads none."""
    opened: list[Path] = []

    def counting(paths: list[Path], doing: str) -> object:
        opened.extend(paths)
        return read(paths, doing)

    banks.teach(counting)  # type: ignore[arg-type]
    banks.teach(counting)  # type: ignore[arg-type]
    assert len(opened) == len(set(opened)) == 4
    assert [banks.bank(k, 0).images for k in (1, 2, 4)] == [1, 2, 4]


def test_a_taught_image_is_nearest_to_its_own_bank(
    banks: ShotBanks,
    read: Read,
    recipe: Recipe,
    tiny_backbone: Backbone,
    tiny_settings: ModelSettings,
    dataset: Dataset,
) -> None:
    """Its map is the zero-shot one, as distances to itself are nothing; of another image it is not."""
    banks.teach(read)
    one_shot = banks.variants(recipe, tiny_settings)[0]
    taught = banks.taught(1, 0)[0]
    other = next(path for path in dataset.train if path != taught)
    for path, close in ((taught, True), (other, False)):
        ((_, features),) = tiny_backbone.encode([read_image(path)])
        zero_shot = score(features, recipe, tiny_settings).patch_map
        assert torch.allclose(one_shot.score(features).patch_map, zero_shot, atol=1e-2) is close


def test_rows_and_names_of_the_usual_comparison(
    banks: ShotBanks, recipe: Recipe, tiny_backbone: Backbone, tiny_settings: ModelSettings
) -> None:
    """Zero-shot once, every k as often as there are seeds, in one row."""
    variants = shot_variants(recipe, tiny_settings, tiny_backbone, banks, (0, 1))
    assert [(each.name, each.row) for each in variants[:3]] == [
        ("zero-shot", "zero-shot"),
        ("1-shot seed 0", "1-shot"),
        ("1-shot seed 1", "1-shot"),
    ]
    assert len({each.identity for each in variants}) > 2


def test_identity_changes_with_settings_and_taught_images(
    banks: ShotBanks, recipe: Recipe, tiny_backbone: Backbone, tiny_settings: ModelSettings, dataset: Dataset
) -> None:
    """Results under another temperature, or of another picture taught, are other results."""
    plain = recipe_variant("a", recipe, tiny_settings, tiny_backbone)
    assert recipe_variant("b", recipe, tiny_settings, tiny_backbone).identity == plain.identity
    warmer = tiny_settings.model_copy(update={"temperature": 0.1})
    assert recipe_variant("a", recipe, warmer, tiny_backbone).identity != plain.identity
    assert banks.identity(1, 0) != banks.identity(2, 0)
