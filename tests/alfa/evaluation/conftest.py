"""What the tests of an evaluation share: a class, a store, and a whole evaluation on the tiny model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from alfa.backbone import Backbone
from alfa.evaluation.datasets import Dataset, read_dataset
from alfa.evaluation.protocol import judge_dataset, measure
from alfa.evaluation.report import Evaluation, PromptsUsed
from alfa.evaluation.store import FILE_NAME, ResultStore
from alfa.evaluation.variants import Read, ShotBanks, shot_variants
from alfa.images import RgbImage, read_image
from alfa.recipe import Recipe
from alfa.settings import ModelSettings

SHOTS = (0, 2)
SEEDS = 2


@pytest.fixture
def dataset(plate_set: Path) -> Dataset:
    """Four good and four defective images, with masks, and four to teach from."""
    return read_dataset(plate_set)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    """An empty one."""
    with closing(ResultStore(tmp_path / "out" / FILE_NAME)) as opened:
        yield opened


@pytest.fixture
def recipe(tiny_backbone: Backbone, tiny_settings: ModelSettings, tiny_prompts: Path) -> Recipe:
    """Zero-shot."""
    return Recipe.load(tiny_backbone, tiny_prompts, settings=tiny_settings)


@pytest.fixture
def read() -> Read:
    """Reads images two by two."""

    def in_pairs(paths: list[Path], doing: str) -> Iterator[tuple[Sequence[Path], Sequence[RgbImage]]]:
        assert doing
        for start in range(0, len(paths), 2):
            yield paths[start : start + 2], [read_image(path) for path in paths[start : start + 2]]

    return in_pairs


@pytest.fixture
def evaluation(
    dataset: Dataset,
    store: ResultStore,
    recipe: Recipe,
    tiny_backbone: Backbone,
    tiny_settings: ModelSettings,
    read: Read,
) -> Evaluation:
    """The class judged zero-shot and with two images taught, twice; one mask is missing."""
    dataset.test[-1].mask_path.unlink()  # type: ignore[union-attr]
    known = read_dataset(dataset.directory)
    banks = ShotBanks(tiny_backbone, known, SHOTS, SEEDS)
    variants = shot_variants(recipe, tiny_settings, tiny_backbone, banks, SHOTS)
    judge_dataset(known, tiny_backbone, variants, store, read, banks)
    return Evaluation(
        name="plates",
        model_id=tiny_backbone.model_id,
        weights_hash=tiny_backbone.weights_hash,
        settings=tiny_settings,
        shots=SHOTS,
        seeds=SEEDS,
        limit=None,
        prompts={"plate": PromptsUsed("plate.toml", recipe.prompts_hash)},
        results=(measure(known, variants, store, lambda images, _: images),),
    )
