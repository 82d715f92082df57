"""The whole method on a tiny model with random weights, against the equations written out."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from alfa.backbone import Backbone
from alfa.calibration import Binding, Calibration, calibrate
from alfa.errors import BadInput
from alfa.features import ImageFeatures
from alfa.inspector import Inspection, Inspector, judge, score
from alfa.memory import MemoryBank
from alfa.recipe import Recipe, method_hash
from alfa.region import region_above
from alfa.settings import ModelSettings

# All in the tiny model's own shape, so that they share a batch.
SIZES = [(60, 45), (120, 90), (48, 36)]


def _images(seed: int = 0, sizes: list[tuple[int, int]] = SIZES) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def _features(backbone: Backbone, images: list[NDArray[np.uint8]]) -> ImageFeatures:
    [(_, features)] = backbone.encode(images)
    return features


def _teach(backbone: Backbone, images: list[NDArray[np.uint8]], path: Path) -> Path:
    sources = [f"{index:016x}" for index in range(len(images))]
    MemoryBank.build([_features(backbone, images)], backbone, sources).save(path)
    return path


@pytest.fixture
def inspector(tiny_backbone: Backbone, tiny_settings: ModelSettings, tiny_prompts: Path) -> Inspector:
    """Zero-shot."""
    return Inspector(
        tiny_backbone, Recipe.load(tiny_backbone, tiny_prompts, settings=tiny_settings), tiny_settings
    )


@pytest.fixture
def taught(
    tiny_backbone: Backbone, tiny_settings: ModelSettings, tiny_prompts: Path, tmp_path: Path
) -> Inspector:
    """Few-shot, with two good images in the bank."""
    bank = _teach(tiny_backbone, _images(seed=100)[:2], tmp_path / "bank.safetensors")
    recipe = Recipe.load(tiny_backbone, tiny_prompts, bank, settings=tiny_settings)
    return Inspector(tiny_backbone, recipe, tiny_settings)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _text_vectors(image: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Algorithm 1 for one image, prompt by prompt."""
    sides = (recipe.text.normal, recipe.text.abnormal)
    similarities = [[float(image @ prompt) for prompt in side] for side in sides]
    vectors = []
    for own, side, other in zip(similarities, sides, reversed(similarities), strict=True):
        kept = [prompt for d, prompt in zip(own, side, strict=True) if d < min(other) or d > max(other)]
        mean = torch.stack(kept or list(side)).mean(dim=0)
        vectors.append(mean / mean.norm())
    return vectors[0], vectors[1]


def _written_out(
    features: ImageFeatures, index: int, recipe: Recipe, settings: ModelSettings
) -> tuple[float, float]:
    """S_G and max S_L of one image by Eq. 2-4 and 10-11 and loops over windows and patches."""
    image, grid = features.image[index], features.grid
    normal, abnormal = _text_vectors(image, recipe)
    levels = []
    for scale, windows in zip(settings.scales, features.windows, strict=True):
        covering: list[list[float]] = [[] for _ in range(grid.patches)]
        columns = grid.cols - scale + 1
        for number, window in enumerate(windows[index]):
            w = torch.eye(len(image)) + torch.outer(window - image, image)
            a, n = float(window @ w @ abnormal), float(window @ w @ normal)
            score = _sigmoid((a - n) / settings.temperature)
            top, left = divmod(number, columns)
            for row in range(top, top + scale):
                for col in range(left, left + scale):
                    covering[row * grid.cols + col].append(score)
        levels.append([len(scores) / sum(1 / score for score in scores) for scores in covering])
    patch_map = [len(levels) / sum(1 / score for score in scores) for scores in zip(*levels, strict=True)]
    s_global = _sigmoid(float(image @ abnormal - image @ normal) / settings.temperature)
    return s_global, max(patch_map)


def test_scores_are_those_of_the_equations(inspector: Inspector) -> None:
    """Eq. 2-4, the aligner, harmonic averaging and Eq. 10-12, all with plain loops."""
    images = _images()
    features = _features(inspector.backbone, images)
    for index, inspection in enumerate(inspector.inspect(images)):
        s_global, s_local_max = _written_out(features, index, inspector.recipe, inspector.settings)
        assert inspection.s_global == pytest.approx(s_global, rel=1e-3)
        assert inspection.s_local_max == pytest.approx(s_local_max, rel=1e-3)
        assert inspection.score == pytest.approx((s_global + s_local_max) / 2, rel=1e-3)


def _agree(first: Inspection, second: Inspection) -> None:
    assert first.score == pytest.approx(second.score, rel=1e-4)
    assert np.allclose(first.anomaly_map, second.anomaly_map, atol=2e-3)
    assert [reason.text for reason in first.reasons] == [reason.text for reason in second.reasons]
    assert (first.kept_normal, first.kept_abnormal) == (second.kept_normal, second.kept_abnormal)


def test_a_batch_equals_its_images_one_by_one(taught: Inspector) -> None:
    """No image's verdict depends on its neighbours."""
    for together, image in zip(taught.inspect(_images()), _images(), strict=True):
        _agree(together, taught.inspect([image])[0])


def test_images_of_different_shapes_come_back_in_their_order(taught: Inspector) -> None:
    """Each shape is a batch of its own; answers come in the order of the images, maps in their shape."""
    images = _images(sizes=[(40, 90), (60, 45), (41, 92), (48, 48)])
    together = taught.inspect(images)
    assert [each.anomaly_map.shape for each in together] == [(36, 48), (48, 36), (36, 48), (36, 36)]
    for inspection, image in zip(together, images, strict=True):
        _agree(inspection, taught.inspect([image])[0])


def test_lines_judged_from_one_encoded_batch_equal_separate_ones(taught: Inspector) -> None:
    """A detector encodes several lines at once and judges each line's rows."""
    features = _features(taught.backbone, _images()).select([2, 0])
    judged = judge(features, taught.recipe, taught.settings, [SIZES[2], SIZES[0]])
    whole = taught.inspect(_images())
    _agree(judged[0], whole[2])
    _agree(judged[1], whole[0])


def test_no_images_give_no_inspections(inspector: Inspector) -> None:
    """An empty batch is not an error."""
    assert inspector.inspect([]) == []


def test_without_calibration_the_threshold_is_one_half_and_said_to_be_uncalibrated(
    inspector: Inspector,
) -> None:
    """The verdict never pretends."""
    inspection = inspector.inspect(_images())[0]
    assert inspection.threshold == 0.5
    assert not inspection.calibrated
    assert inspector.recipe.calibration_hash == ""
    assert inspector.recipe.bank_hash == ""


def test_the_map_has_model_resolution_in_half_precision(inspector: Inspector) -> None:
    """Whatever the image's size."""
    for inspection in inspector.inspect(_images()):
        assert inspection.anomaly_map.shape == inspector.backbone.image_size
        assert inspection.anomaly_map.dtype == np.float16
        assert inspection.finite


def test_a_bank_adds_its_distances_to_the_map_and_to_the_score(
    inspector: Inspector, taught: Inspector
) -> None:
    """S = (S_G + max(S_L + weight * distance)) / 2; the map rises by the weighted distances."""
    assert taught.recipe.bank is not None
    weight = taught.settings.bank_weight
    features = _features(taught.backbone, _images())
    distances = taught.recipe.bank.distances(features)
    assert distances.min() > 1e-4
    for index, (plain, few) in enumerate(
        zip(inspector.inspect(_images()), taught.inspect(_images()), strict=True)
    ):
        assert few.s_global == pytest.approx(plain.s_global)
        assert few.score == pytest.approx((few.s_global + few.s_local_max) / 2)
        rise = few.anomaly_map.astype(float).mean() - plain.anomaly_map.astype(float).mean()
        assert rise == pytest.approx(weight * float(distances[index].mean()), rel=0.01)


def test_a_taught_image_scores_as_without_the_bank(inspector: Inspector, taught: Inspector) -> None:
    """Its distances are zero."""
    image = _images(seed=100)[0]
    assert taught.inspect([image])[0].score == pytest.approx(inspector.inspect([image])[0].score, abs=1e-4)


def test_reasons_are_the_five_nearest_descriptors_best_first(inspector: Inspector) -> None:
    """Similarities as <f(x), g(descriptor)>, in falling order."""
    image = _features(inspector.backbone, _images()).image[0]
    similarities = (inspector.recipe.text.descriptors @ image).tolist()
    expected = sorted(zip(similarities, inspector.recipe.prompt_set.descriptors, strict=True), reverse=True)[
        :5
    ]
    reasons = inspector.inspect(_images())[0].reasons
    assert [reason.text for reason in reasons] == [text for _, text in expected]
    assert [reason.similarity for reason in reasons] == pytest.approx(
        [value for value, _ in expected], abs=1e-5
    )


def test_a_prompt_set_without_descriptors_gives_no_reasons(inspector: Inspector) -> None:
    """Explanations are optional."""
    recipe = replace(
        inspector.recipe,
        prompt_set=replace(inspector.recipe.prompt_set, descriptors=()),
        text=replace(inspector.recipe.text, descriptors=inspector.recipe.text.descriptors[:0]),
    )
    assert Inspector(inspector.backbone, recipe, inspector.settings).inspect(_images())[0].reasons == ()


def _calibrated(inspector: Inspector, tmp_path: Path, prompts: Path) -> Inspector:
    good = [inspection for seed in range(5) for inspection in inspector.inspect(_images(seed))]
    path = tmp_path / "calibration.json"
    calibrate(good, 0.13, inspector.recipe.binding).save(path)
    recipe = Recipe.load(inspector.backbone, prompts, None, path, settings=inspector.settings)
    return Inspector(inspector.backbone, recipe, inspector.settings)


def test_a_calibration_sets_threshold_region_and_flag(
    inspector: Inspector, tiny_prompts: Path, tmp_path: Path
) -> None:
    """On the 15 images it was made from: ceil(16 * 0.87) = 14, so one lies above."""
    calibrated = _calibrated(inspector, tmp_path, tiny_prompts)
    calibration = calibrated.recipe.calibration
    assert calibration is not None
    judged = [inspection for seed in range(5) for inspection in calibrated.inspect(_images(seed))]
    sizes = SIZES * 5
    for inspection, size in zip(judged, sizes, strict=True):
        assert inspection.calibrated
        assert inspection.threshold == calibration.score_threshold
        assert inspection.anomalous == (inspection.score > calibration.score_threshold)
        assert inspection.region == region_above(inspection.anomaly_map, calibration.map_threshold, size)
    assert sum(inspection.anomalous for inspection in judged) == 1
    assert any(inspection.region is not None for inspection in judged)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_features_that_are_not_finite_never_read_as_good(inspector: Inspector, broken: float) -> None:
    """Such an image is flagged; its neighbour is judged as ever."""
    features = _features(inspector.backbone, _images())
    image = features.image.clone()
    image[0, 0] = broken
    judged = judge(replace(features, image=image), inspector.recipe, inspector.settings, SIZES)
    assert not judged[0].finite
    assert judged[0].anomalous
    assert judged[1].finite


def test_a_bank_of_another_model_is_refused(
    tiny_backbone: Backbone, tiny_settings: ModelSettings, tiny_prompts: Path, tmp_path: Path
) -> None:
    """The same weights on another grid do not fit."""
    bank = _teach(tiny_backbone, _images(), tmp_path / "bank.safetensors")
    settings = tiny_settings.model_copy(update={"resolution": 48})
    with pytest.raises(BadInput, match=r"bank\.safetensors: grid"):
        Inspector.load(tiny_prompts, bank, settings=settings)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bank_weight": 2.0}, "method_hash"),
        ({"bank_foreground": False}, "method_hash"),
        ({"temperature": 0.1}, "method_hash"),
        ({"aligner": "none"}, "method_hash"),
        ({}, "bank_hash"),
    ],
)
def test_a_calibration_of_another_method_or_bank_is_refused(
    inspector: Inspector, tiny_prompts: Path, tmp_path: Path, change: dict[str, object], field: str
) -> None:
    """A threshold made at another temperature or without the bank means nothing."""
    _calibrated(inspector, tmp_path, tiny_prompts)
    settings = inspector.settings.model_copy(update=change)
    bank = None if change else _teach(inspector.backbone, _images(), tmp_path / "bank.safetensors")
    with pytest.raises(BadInput, match=rf"calibration\.json: {field}"):
        Recipe.load(inspector.backbone, tiny_prompts, bank, tmp_path / "calibration.json", settings=settings)


@pytest.mark.parametrize(
    ("setting", "other"),
    [
        ("resolution", 48),
        ("keep_aspect", False),
        ("scales", (2,)),
        ("local", "windows"),
        ("top_share", 0.5),
        ("contextual", "none"),
        ("contextual_quantile", 0.2),
        ("contextual_k", 2.0),
        ("precision", "bf16"),
        ("mode", "fast"),
    ],
)
def test_every_setting_that_moves_a_score_is_in_the_methods_hash(
    tiny_backbone: Backbone, tiny_settings: ModelSettings, setting: str, other: object
) -> None:
    """Else a threshold made under another one would be accepted."""
    settings = tiny_settings.model_copy(update={setting: other})
    running = method_hash(tiny_backbone, tiny_settings)
    assert method_hash(Backbone.load(settings), settings) != running


def test_max_s_l_is_the_mean_of_the_highest_share_of_the_map(inspector: Inspector) -> None:
    """A quarter of 12 patches are three."""
    features = _features(inspector.backbone, _images())
    settings = inspector.settings.model_copy(update={"top_share": 0.25})
    found = score(features, inspector.recipe, settings)
    expected = found.patch_map.sort(dim=1).values[:, -3:].mean(dim=1)
    torch.testing.assert_close(found.s_local_max, expected)
    torch.testing.assert_close(found.image, (found.s_global + expected) / 2)


def test_the_map_scale_is_the_calibrations(inspector: Inspector) -> None:
    """(good median, threshold), by which overlays are coloured."""
    calibration = Calibration(
        n=3,
        alpha=0.5,
        score_median=0.1,
        score_threshold=0.2,
        map_median=0.3,
        map_threshold=0.4,
        **{name: getattr(inspector.recipe.binding, name) for name in Binding.__slots__},
    )
    assert replace(inspector.recipe, calibration=calibration).map_scale == (0.3, 0.4)


def test_importing_the_inspector_does_not_load_open_clip() -> None:
    """It takes seconds that a command with bad input should not cost."""
    code = "from alfa import Inspector; import sys; sys.exit('open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
