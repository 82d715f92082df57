"""The ablation's variants against the method itself, and its tables against their rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alfa.adaptation import TextEmbeddings
from alfa.backbone import Backbone
from alfa.evaluation.ablation import (
    BOTH,
    COMPONENTS,
    LLM_ONLY,
    ONE_CLASS,
    SHOTS,
    TEMPLATES,
    TEMPLATES_ONLY,
    WHOLE_METHOD,
    WITH_LLM,
    WITH_SCORING,
    ablation_settings,
    ablation_variants,
    prompt_counts,
    scales_row,
    whole_method,
    with_scales,
)
from alfa.evaluation.ablation_report import Ablation, ablation_csv, ablation_json, ablation_tables, cells
from alfa.evaluation.datasets import Dataset
from alfa.evaluation.metrics import ImageMetrics, PixelMetrics
from alfa.evaluation.protocol import GLOBAL, LOCAL, WHOLE, Figures, Row, judge_dataset, measure
from alfa.evaluation.store import ResultStore
from alfa.evaluation.variants import Read, ShotBanks, Variant
from alfa.features import ImageFeatures
from alfa.files import file_hash
from alfa.inspector import score
from alfa.memory import MemoryBank
from alfa.prompting.templates import PROMPTS_PER_LABEL
from alfa.recipe import Recipe
from alfa.settings import ModelSettings


@pytest.fixture(scope="module")
def settings(tiny_settings: ModelSettings) -> ModelSettings:
    """A square of 4 x 4 patches, so that a window of scale 4 fits."""
    return tiny_settings.model_copy(update={"resolution": 48, "keep_aspect": False})


@pytest.fixture(scope="module")
def backbone(settings: ModelSettings) -> Backbone:
    return Backbone.load(ablation_settings(settings))


@pytest.fixture
def own_recipe(backbone: Backbone, tiny_prompts: Path) -> Recipe:
    return Recipe.load(backbone, tiny_prompts, settings=backbone.settings)


@pytest.fixture
def banks(backbone: Backbone, dataset: Dataset) -> ShotBanks:
    return ShotBanks(backbone, dataset, SHOTS, seeds=1)


@pytest.fixture
def variants(
    backbone: Backbone, own_recipe: Recipe, settings: ModelSettings, banks: ShotBanks
) -> dict[str, Variant]:
    return {each.name: each for each in ablation_variants(backbone, own_recipe, settings, banks)}


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def features(backbone: Backbone, pixels: Tensor) -> ImageFeatures:
    return backbone.encode_images(pixels)


def test_fewer_scales_are_those_that_a_backbone_of_these_scales_gives(
    settings: ModelSettings, pixels: Tensor, features: ImageFeatures
) -> None:
    """Scales 2 and 4 out of 2, 3 and 4."""
    alone = Backbone.load(settings.model_copy(update={"scales": (2, 4)})).encode_images(pixels)
    for ours, theirs in zip(with_scales(features, (2, 4)).windows, alone.windows, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_fewer_scales_keep_their_values(settings: ModelSettings, pixels: Tensor) -> None:
    """Where the aligner reads values, each level takes its own along."""
    on_values = settings.model_copy(update={"aligner": "ridge"})
    features = Backbone.load(ablation_settings(on_values)).encode_images(pixels)
    values, chosen = features.values, with_scales(features, (3,)).values
    assert values is not None
    assert chosen is not None
    assert torch.equal(chosen.agreement[0], values.agreement[1])
    assert torch.equal(chosen.windows[0], values.windows[1])
    assert len(chosen.windows) == 1


def test_the_last_row_is_the_method_itself(
    settings: ModelSettings,
    variants: dict[str, Variant],
    own_recipe: Recipe,
    pixels: Tensor,
    features: ImageFeatures,
) -> None:
    """Scales 2 and 3, windows only, as `score` gives it on a backbone of its own."""
    whole = settings.model_copy(update={"scales": (2, 3), "local": "windows"})
    expected = score(Backbone.load(whole).encode_images(pixels), own_recipe, whole)
    found = variants[WHOLE_METHOD].score(features)
    torch.testing.assert_close(found.image, expected.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.patch_map, expected.patch_map, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("row", "changes", "part"),
    [
        (TEMPLATES, {"contextual": "none", "aligner": "none"}, slice(None, PROMPTS_PER_LABEL)),
        (WITH_LLM, {"contextual": "none", "aligner": "none"}, slice(None)),
        (WITH_SCORING, {"aligner": "none"}, slice(None)),
        (TEMPLATES_ONLY, {}, slice(None, PROMPTS_PER_LABEL)),
        (LLM_ONLY, {}, slice(PROMPTS_PER_LABEL, None)),
    ],
)
def test_a_row_leaves_out_what_it_says(
    row: str,
    changes: dict[str, str],
    part: slice,
    settings: ModelSettings,
    variants: dict[str, Variant],
    own_recipe: Recipe,
    features: ImageFeatures,
) -> None:
    """The same as the method with those settings on that part of the prompts of each side."""
    text = own_recipe.text
    some = TextEmbeddings(text.normal[part], text.abnormal[part], text.descriptors)
    changed = whole_method(settings).model_copy(update=changes)
    expected = score(with_scales(features, (2, 3)), replace(own_recipe, text=some), changed)
    assert torch.equal(variants[row].score(features).image, expected.image)
    assert torch.equal(variants[row].score(features).patch_map, expected.patch_map)


def test_the_one_class_row_is_the_distance_to_the_mean_normal_template(
    variants: dict[str, Variant], own_recipe: Recipe, features: ImageFeatures
) -> None:
    """(1 - cos) / 2; the abnormal prompts have no part in it."""
    normal = own_recipe.text.normal[:PROMPTS_PER_LABEL].mean(dim=0)
    expected = (1 - torch.cosine_similarity(features.image, normal[None])) / 2
    torch.testing.assert_close(variants[ONE_CLASS].score(features).image, expected)


def test_a_few_shot_row_is_a_bank_beside_windows_of_its_own_scales(
    settings: ModelSettings,
    variants: dict[str, Variant],
    banks: ShotBanks,
    own_recipe: Recipe,
    dataset: Dataset,
    read: Read,
    features: ImageFeatures,
) -> None:
    """Scale 2 alone after two taught images, against a bank built by a backbone of that scale."""
    banks.teach(read)
    alone = settings.model_copy(update={"scales": (2,), "local": "windows"})
    single = Backbone.load(alone)
    taught = banks.taught(2, 0)
    encoded = [one for _, pictures in read(list(taught), "teaching") for _, one in single.encode(pictures)]
    bank = MemoryBank.build(encoded, single, [file_hash(path) for path in taught])
    expected = score(with_scales(features, (2,)), replace(own_recipe, bank=bank), alone)
    found = variants[f"{scales_row((2,), 2)} seed 0"].score(features)
    torch.testing.assert_close(found.image, expected.image, atol=1e-4, rtol=0)


def test_variants_with_the_same_prompts_and_settings_are_still_told_apart(
    variants: dict[str, Variant],
) -> None:
    """A store that goes on must never take one row's results for another's."""
    identities = {variant.identity for variant in variants.values()}
    assert len(identities) == len(variants)


def test_without_an_aligner_in_the_settings_the_papers_stands_in(settings: ModelSettings) -> None:
    """Else the last row would repeat the one above it; the same for contextual scoring."""
    bare = settings.model_copy(update={"aligner": "none", "contextual": "none"})
    assert (whole_method(bare).aligner, whole_method(bare).contextual) == ("rank-one", "paper")
    chosen = settings.model_copy(update={"aligner": "ridge", "contextual": "robust"})
    assert (whole_method(chosen).aligner, whole_method(chosen).contextual) == ("ridge", "robust")


def test_prompts_are_counted_per_label(own_recipe: Recipe) -> None:
    """72 templates a side; the file has one normal and two abnormal prompts of its own."""
    counts = prompt_counts(own_recipe)
    assert counts == {TEMPLATES_ONLY: (72, 72), LLM_ONLY: (1, 2), BOTH: (73, 74)}


def _row(name: str, part: str, auroc: float) -> Row:
    return Row(name, part, (Figures(ImageMetrics(auroc, 0.5, 0.5), PixelMetrics(auroc / 2, 0.5, 0.5)),))


def _rows() -> Iterator[Row]:
    """Every row's AUROC tells which it is."""
    for number, name in enumerate([*COMPONENTS, TEMPLATES_ONLY, LLM_ONLY]):
        yield _row(name, WHOLE, number / 100)
    for level, scales in enumerate(((2,), (2, 3), (2, 3, 4))):
        for shots in SHOTS:
            for offset, part in enumerate((WHOLE, GLOBAL, LOCAL)):
                yield _row(scales_row(scales, shots), part, 0.1 + 0.1 * level + 0.01 * shots + 0.002 * offset)


def test_every_figure_stands_in_its_place() -> None:
    """Table 6: S_G at 2 shots comes from scales 2 and 3; scales 2, 3, 4 at 4 shots from the map."""
    found = {
        (cell.table, cell.row, cell.column): cell.source.mean(cell.metric) for cell in cells(list(_rows()))
    }
    assert found["Table 2", WITH_LLM, "image AUROC"] == pytest.approx(0.02)
    assert found["Table 3", BOTH, "image AUROC"] == found["Table 2", WHOLE_METHOD, "image AUROC"]
    assert found["Table 6, score", "S_G", "2-shot"] == pytest.approx(0.222)
    assert found["Table 6, score", "both", "0-shot"] == pytest.approx(0.2)
    assert found["Table 6, scales", "[2, 3, 4]", "4-shot"] == pytest.approx((0.3 + 0.04) / 2)


def test_one_run_fills_every_table(
    dataset: Dataset,
    backbone: Backbone,
    own_recipe: Recipe,
    settings: ModelSettings,
    banks: ShotBanks,
    store: ResultStore,
    read: Read,
) -> None:
    """From images to tables, JSON and CSV; each says the same."""
    variants = ablation_variants(backbone, own_recipe, settings, banks)
    judge_dataset(dataset, backbone, variants, store, read, banks)
    result = measure(dataset, variants, store, lambda images, _: images)
    counts = {dataset.name: prompt_counts(own_recipe)}
    told = Ablation("plates", "tiny", "0" * 16, "rank-one", "paper", (result,), counts)

    [only] = ablation_json(told)["classes"]
    lines = list(csv.DictReader(io.StringIO(ablation_csv(told))))
    assert len(only["figures"]) == len(lines) == 5 * 6 + 3 * 3 + 3 * 4 + 3 * 4
    assert all(figure["mean"] is not None for figure in only["figures"])
    assert only["prompts"] == {TEMPLATES_ONLY: "72", LLM_ONLY: "1-2", BOTH: "73-74"}
    assert [table.row_count for table in ablation_tables(told)] == [5, 3, 3, 3]
