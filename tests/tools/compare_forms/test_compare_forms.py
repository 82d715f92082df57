"""The comparison of forms: which images, what the cache keeps, figures and tables, and a whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor
from typer.testing import CliRunner

from alfa.backbone import Backbone
from alfa.evaluation.datasets import Dataset, LabelledImage, read_dataset
from alfa.features import ImageFeatures
from alfa.images import read_image
from alfa.settings import ModelSettings
from tools.compare_forms.__main__ import app
from tools.compare_forms.cached_features import FeatureCache, chosen, spread
from tools.compare_forms.figures import IMAGE, PIXEL, draw, mean_figures
from tools.compare_forms.judging import CONTEXTUAL, NO_WINDOWS, Form, Judged, aligner_forms, contextual_forms
from tools.compare_forms.tables import Kept, SetResult, as_markdown


def compared_tower(**arguments: Any) -> timm.models.VisionTransformer:
    """Four blocks of width 32 on 4 x 4 patches."""
    chosen = {"img_size": 48, "patch_size": 12, "embed_dim": 32, "depth": 4, "num_heads": 2} | arguments
    return timm.models.build_model_with_cfg(
        timm.models.VisionTransformer, "compared_tower", **{"pretrained": False} | chosen
    )


timm.models.register_model(compared_tower)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in the embedded form, random."""
    directory = tmp_path_factory.mktemp("model")
    tower = {
        "timm_model_name": "compared_tower",
        "timm_pool": "token",
        "timm_proj": "linear",
        "image_size": 48,
    }
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    arguments = {"embed_dim": 16, "vision_cfg": tower | {"image_size": 48}, "text_cfg": text}
    statistics = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    config = {
        "model_cfg": arguments | {"custom_text": True},
        "preprocess_cfg": statistics,
        "patch_head": {"blocks": [3, 4], "sharpness": 5.0},
    }
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = open_clip.CustomTextCLIP(**arguments)
        head = {
            "patch_head.projection.weight": torch.randn(15, 64),
            "patch_head.query": torch.randn(15),
        }
    tensors = {name: tensor.contiguous() for name, tensor in clip.state_dict().items()}
    trunk = {name: tensor for name, tensor in tensors.items() if name.startswith("visual.trunk.")}
    text_side = {name: tensor for name, tensor in tensors.items() if name not in trunk}
    safetensors.torch.save_file(
        {name.removeprefix("visual.trunk."): tensor for name, tensor in trunk.items()},
        directory / "image_tower.safetensors",
    )
    safetensors.torch.save_file(text_side | head, directory / "text_tower.safetensors")
    return directory


@pytest.fixture(scope="module")
def backbone(model: Path) -> Backbone:
    settings = ModelSettings(device="cpu", precision="fp32", local="both", aligner="ridge")
    return Backbone.load_directory(model, settings)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of one set: three good, three with a bright square, masks, two more good ones to train on."""
    directory = tmp_path / "data" / "train" / "plate"
    rng = np.random.default_rng(0)
    for number in range(3):
        good = rng.integers(90, 110, (48, 48, 3), dtype=np.uint8)
        bad, mask = good.copy(), np.zeros((48, 48), np.uint8)
        bad[10:30, 10:30], mask[10:30, 10:30] = 250, 255
        pictures = {"test/good": good, "test/spot": bad, "ground_truth/spot": mask}
        if number < 2:
            pictures["train/good"] = rng.integers(90, 110, (48, 48, 3), dtype=np.uint8)
        for folder, picture in pictures.items():
            (directory / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(directory / folder / f"{number:03}.png"), picture)
    return tmp_path / "data"


@pytest.fixture
def dataset(data: Path) -> Dataset:
    return read_dataset(data / "train" / "plate")


def test_images_are_spread_evenly_over_the_list() -> None:
    """Three of ten: every third or so, and the same ones every time."""
    images = [LabelledImage(Path(str(number)), "good", None) for number in range(10)]
    assert [image.path.name for image in spread(images, 3)] == ["0", "3", "6"]
    assert spread(images, 20) == images


def test_good_images_come_first_and_are_filled_up_from_the_training_folder(dataset: Dataset) -> None:
    """Three good test images of four wanted: one more of those that nobody is taught with."""
    images = chosen(dataset, 4)
    assert [image.abnormal for image in images] == [False] * 4 + [True] * 3
    assert images[3].path.parts[-3:-1] == ("train", "good")


def _parts(features: ImageFeatures) -> list[Tensor]:
    assert features.values is not None
    assert features.patch_joint is not None
    values = features.values
    own = [features.image, features.patches, features.patch_joint, *features.windows]
    return [*own, values.tokens, *values.windows, *values.agreement]


def test_cached_features_are_the_backbones_to_half_precision(
    backbone: Backbone, model: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Every part comes back, on the same grid, with patches in the joint space."""
    cache = FeatureCache.of(backbone, model, tmp_path / "cache")
    image = dataset.test[0]
    cache.fill([image], "plate")
    [(_, expected)] = backbone.encode([read_image(image.path)])
    found = cache.read(image)
    assert found.grid == expected.grid
    for mine, other in zip(_parts(found), _parts(expected), strict=True):
        torch.testing.assert_close(mine, other, atol=2e-3, rtol=0)


def test_values_of_a_model_with_a_patch_head_are_pooled_as_its_tokens_are(backbone: Backbone) -> None:
    """On 3 x 3 patches the one window of scale 3 is the image: the same pooled values and inner products."""
    pixels = torch.randn(2, 3, 36, 36, generator=torch.Generator().manual_seed(0))
    features = backbone.encode_images(pixels)
    assert features.values is not None
    torch.testing.assert_close(features.windows[1][:, 0], features.image, atol=1e-5, rtol=0)
    tokens, window = features.values.tokens, features.values.windows[1][:, 0]
    assert tokens.shape == (2, 10, 16)
    torch.testing.assert_close(window, tokens[:, 0], atol=1e-5, rtol=0)
    expected = torch.einsum("btd,bd->bt", tokens, features.image)
    torch.testing.assert_close(features.values.agreement[1][:, 0], expected, atol=1e-5, rtol=0)


def test_what_the_cache_has_is_not_computed_again(
    backbone: Backbone, model: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """The file stays as it is."""
    cache = FeatureCache.of(backbone, model, tmp_path / "cache")
    cache.fill(dataset.test, "plate")
    before = {path: path.stat().st_mtime_ns for path in cache.directory.iterdir()}
    cache.fill(dataset.test, "plate")
    assert {path: path.stat().st_mtime_ns for path in cache.directory.iterdir()} == before


def test_another_preprocessing_has_another_folder(backbone: Backbone, model: Path, tmp_path: Path) -> None:
    """Features of squashed images must not pass for those of images in their shape."""
    squashed = backbone.settings.model_copy(update={"keep_aspect": False})
    other = FeatureCache.of(Backbone.load_directory(model, squashed), model, tmp_path)
    assert other.directory != FeatureCache.of(backbone, model, tmp_path).directory


_NONE, _OTHER = (Form(CONTEXTUAL, name, ModelSettings()) for name in ("none", "other"))


def _judged(scores: list[float], pixels: list[list[list[int]]] | None = None) -> Judged:
    count = len(scores)
    values = np.array(scores)
    histograms = None if pixels is None else np.array(pixels)
    return Judged(values, values, histograms, np.ones((count, 2)), np.zeros(count, bool))


def test_a_figure_is_the_mean_over_sets_and_its_difference_to_the_first_form() -> None:
    """Two sets of 2 + 2 images; `none` 100 and 50 percent, `other` 50 and 50: means 75 and 50."""
    perfect, useless = [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]
    sets = [
        draw({_NONE: _judged(perfect), _OTHER: _judged(useless)}, good=2, draws=100, seed=0),
        draw({_NONE: _judged(useless), _OTHER: _judged(useless)}, good=2, draws=100, seed=1),
    ]
    figures = mean_figures(sets, [_NONE, _OTHER])
    assert figures[_NONE, IMAGE].itself.value == pytest.approx(75)
    assert figures[_OTHER, IMAGE].difference.value == pytest.approx(-25)
    assert figures[_OTHER, IMAGE].difference.high <= 0 + 1e-9
    assert (figures[_NONE, IMAGE].difference.low, figures[_NONE, IMAGE].difference.high) == (0, 0)


def test_sets_without_masks_have_no_part_in_the_pixels() -> None:
    """One set knows its pixels, all in their place: 100 percent, whatever the other set is."""
    pixels = [[[4, 0], [0, 0]], [[2, 0], [0, 2]]]
    known = draw({_NONE: _judged([0.0, 1.0], pixels)}, good=1, draws=100, seed=0)
    unknown = draw({_NONE: _judged([0.0, 1.0])}, good=1, draws=100, seed=0)
    assert mean_figures([known, unknown], [_NONE])[_NONE, PIXEL].itself.value == pytest.approx(100)


def test_a_table_tells_the_difference_and_what_was_kept() -> None:
    """One line a form; the first is what the others are compared with."""
    one = draw({_NONE: _judged([0.0, 1.0]), _OTHER: _judged([1.0, 0.0])}, good=1, draws=100, seed=0)
    figures = mean_figures([one], [_NONE, _OTHER])
    kept = {_NONE: Kept(1.0, 1.0, 0.0), _OTHER: Kept(0.5, 0.25, 0.125)}
    mean = SetResult("mean of 1 sets", (1, 1), figures, kept)
    lines = as_markdown([mean], [mean], [_NONE, _OTHER]).splitlines()
    assert lines[0] == "**contextual, mean of 1 sets**"
    other = next(line for line in lines if line.startswith("| other"))
    assert "| 0.0 | -100.0 [-100.0, -100.0] |" in other
    assert other.endswith("| 50 % | 25 % | 12 % |")


def test_all_aligners_are_compared_on_both_paths() -> None:
    """The same names with and without the patch level, `none` first."""
    compared = aligner_forms(ModelSettings())
    windows = [form for form in compared if form.group == "windows"]
    patches = [form for form in compared if form.group == "windows + patches"]
    assert [*(form.name for form in windows), NO_WINDOWS] == [form.name for form in patches]
    assert windows[0].name == patches[0].name == contextual_forms(ModelSettings())[0].name == "none"
    assert {form.settings.local for form in windows} == {"windows"}
    assert [form.settings.local for form in patches] == ["both"] * len(windows) + ["patches"]


@pytest.mark.parametrize(("which", "line"), [("aligners", "| rank-one |"), ("contextual", "| robust 0.1 |")])
def test_a_run_writes_all_figures_and_prints_tables(
    which: str, line: str, model: Path, data: Path, tmp_path: Path
) -> None:
    """From images to JSON; a second run, on the cache alone, gives the same."""
    out = tmp_path / "figures.json"
    options = [
        "--data",
        str(data),
        "--out",
        str(out),
        "--cache",
        str(tmp_path / "cache"),
        "--model",
        str(model),
    ]
    first = CliRunner().invoke(app, [which, *options, "--draws", "100"], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    figures = json.loads(out.read_text())
    second = CliRunner().invoke(app, [which, *options, "--draws", "100"], catch_exceptions=False)
    assert first.exit_code == second.exit_code == 0
    assert json.loads(out.read_text()) == figures
    assert [each["name"] for each in figures["means"]] == ["mean of 1 sets in train"]
    assert (figures["sets"][0]["good"], figures["sets"][0]["defective"]) == (5, 3)
    assert line in first.stdout
