"""Which methods are compared, and that teaching reaches each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from alfa.backbone import Backbone
from alfa.inspector import score
from alfa.recipe import Recipe
from alfa.settings import ModelSettings
from benchmarks.quality.contenders import Contender, TaughtImage, contenders, load_with_windows


@pytest.fixture(scope="module")
def recipe(tiny_backbone: Backbone, tiny_settings: ModelSettings) -> Recipe:
    """The generic prompts on the tiny model."""
    prompts = Path(__file__).parents[3] / "prompts" / "generic.toml"
    return Recipe.load(tiny_backbone, prompts, settings=tiny_settings)


@pytest.fixture(scope="module")
def rows(tiny_backbone: Backbone, recipe: Recipe, tiny_settings: ModelSettings) -> dict[str, Contender]:
    """All contenders by name."""
    return {row.name: row for row in contenders(tiny_backbone, recipe, tiny_settings)}


@pytest.fixture(scope="module")
def images(tiny_backbone: Backbone) -> list[TaughtImage]:
    """Three encoded noise images of one shape."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (48, 36, 3), dtype=np.uint8) for _ in range(3)]
    [(_, features)] = tiny_backbone.encode(pictures)
    return [TaughtImage(features.select([index]), f"{index:016x}") for index in range(3)]


def test_winclip_runs_at_both_temperatures(rows: dict[str, Contender]) -> None:
    """CLIP's 0.01 and ALFA's own, each under its name."""
    assert [name for name in rows if name.startswith("WinCLIP")] == ["WinCLIP, tau 0.01", "WinCLIP, tau 0.07"]


def test_nearest_neighbour_methods_cannot_do_without_good_images(rows: dict[str, Contender]) -> None:
    """They have no zero-shot row; those that read text have one."""
    assert {name for name, row in rows.items() if row.untaught is None} == {
        "AnomalyDINO-like",
        "PatchCore-like",
    }


def test_our_row_is_the_products_own_score(
    rows: dict[str, Contender], images: list[TaughtImage], recipe: Recipe, tiny_settings: ModelSettings
) -> None:
    """Not a second implementation: the very numbers that a line judges by."""
    untaught = rows["ALFA"].untaught
    assert untaught is not None
    features = images[0].features
    assert torch.equal(untaught(features).image, score(features, recipe, tiny_settings).image)


@pytest.mark.parametrize("name", ["ALFA", "WinCLIP, tau 0.01", "AnomalyDINO-like"])
def test_a_taught_image_scores_lower_than_without_it(
    rows: dict[str, Contender], images: list[TaughtImage], name: str
) -> None:
    """An image judged by a bank that holds it is nearer to it than by a bank of others."""
    others, with_itself = (rows[name].teach(images[1:], 0), rows[name].teach(images, 0))
    features = images[0].features
    assert with_itself(features).image.item() < others(features).image.item()
    assert with_itself(features).patch_map.mean() < others(features).patch_map.mean()


def test_windows_are_there_for_winclip_and_change_nothing_for_alfa() -> None:
    """alfa-mini's own map does without windows; with them beside, its scores stay as they are."""
    settings = ModelSettings(device="cpu", precision="fp32")
    prompts = Path(__file__).parents[3] / "prompts" / "generic.toml"
    picture = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    with_windows, own = load_with_windows(settings), Backbone.load(settings)
    recipe = Recipe.load(own, prompts, settings=settings)
    scored = []
    for backbone in (with_windows, own):
        [(_, features)] = backbone.encode([picture])
        scored.append(score(features, recipe, settings))
    assert with_windows.scales == settings.scales
    assert torch.allclose(scored[0].patch_map, scored[1].patch_map, atol=1e-5)
    assert torch.allclose(scored[0].image, scored[1].image, atol=1e-5)
