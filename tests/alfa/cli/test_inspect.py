"""`alfa-inspect` on a tiny model: table, JSON, overlays, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch

from alfa.calibration import Calibration
from alfa.cli import bank, calibrate, inspect
from alfa.settings import ModelSettings

Command = Callable[..., Any]


@pytest.fixture
def calibration(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, tmp_path: Path
) -> Path:
    """Thresholds from the good images."""
    out = tmp_path / "calibration.json"
    command(calibrate.main, good_images, "--prompts", tiny_prompts, "--out", out, "--config", tiny_config)
    return out


def _with_threshold(calibration: Path, score_threshold: float) -> Path:
    """The same calibration with another score threshold, as an engineer may set it."""
    content = json.loads(calibration.read_text()) | {"score_median": 0.0, "score_threshold": score_threshold}
    calibration.write_text(json.dumps(content))
    return calibration


def test_good_images_end_with_exit_zero_and_a_row_each(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, calibration: Path
) -> None:
    """All below the threshold: OK."""
    options = ("--prompts", tiny_prompts, "--config", tiny_config)
    ended = command(
        inspect.main, good_images, *options, "--calibration", _with_threshold(calibration, 2.0), "--json"
    )
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert [entry["verdict"] for entry in report["images"]] == ["OK"] * 30
    assert report["calibrated"]


def test_an_anomalous_image_ends_with_exit_one(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, calibration: Path
) -> None:
    """One above the threshold is enough."""
    options = ("--prompts", tiny_prompts, "--config", tiny_config)
    ended = command(
        inspect.main,
        good_images / "000.png",
        *options,
        "--calibration",
        _with_threshold(calibration, 0.0),
        "--json",
    )
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["images"][0]["verdict"] == "NG"


def test_json_names_everything_that_led_to_the_verdict(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, calibration: Path
) -> None:
    """Hashes of model, prompts, bank and calibration; score on the fixed scale; reasons."""
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--calibration", calibration, "--json")
    report = json.loads(command(inspect.main, good_images / "000.png", *options).stdout)
    held = Calibration.load(calibration)
    assert report["calibration_hash"] == held.content_hash
    assert report["prompts_hash"] == held.prompts_hash
    assert report["weights_hash"] == held.weights_hash
    assert report["bank_hash"] == ""
    entry = report["images"][0]
    assert entry["normalised_score"] == pytest.approx(held.normalised(entry["score"]))
    assert len(entry["reasons"]) == 5


def test_the_table_shows_every_image_and_says_it_is_not_calibrated(
    command: Command,
    good_images: Path,
    tiny_prompts: Path,
    tiny_config: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A person reads verdicts and scores."""
    monkeypatch.setenv("COLUMNS", "200")
    images = (good_images / "000.png", good_images / "001.png")
    shown = command(inspect.main, *images, "--prompts", tiny_prompts, "--config", tiny_config).stdout
    assert "not calibrated" in shown
    assert "000.png" in shown
    assert "001.png" in shown


def test_a_bank_without_calibration_is_told_what_it_needs(
    command: Command,
    good_images: Path,
    tiny_prompts: Path,
    tiny_config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Distances to the bank are multiples of what good parts differ by: one half is no threshold for them."""
    monkeypatch.setenv("COLUMNS", "200")
    taught = tmp_path / "bank.safetensors"
    command(bank.main, "teach", good_images, "--out", taught, "--limit", 2, "--config", tiny_config)
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--bank", taught)
    shown = command(inspect.main, good_images / "005.png", *options).stdout
    assert "run alfa-calibrate" in " ".join(shown.split())


def test_overlays_are_written_one_an_image_in_the_images_size(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """Numbered, so that equal names of two directories do not collide."""
    image = good_images / "000.png"
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--overlays", tmp_path / "out")
    command(inspect.main, image, image, *options)
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["0001-000.png", "0002-000.png"]
    picture = cv2.imread(str(written[0]))
    assert picture is not None
    assert picture.shape == (40, 50, 3)


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_an_unreadable_image_is_one_line_and_exit_two(
    command: Command, tiny_prompts: Path, tiny_config: Path, tmp_path: Path, content: bytes
) -> None:
    """Empty or something else."""
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    ended = command(inspect.main, path, "--prompts", tiny_prompts, "--config", tiny_config)
    assert ended.exit_code == 2
    assert "broken.png" in ended.stderr
    assert ended.stdout == ""


def test_an_image_that_does_not_exist_is_refused(
    command: Command, tiny_prompts: Path, tmp_path: Path
) -> None:
    """Before the model is loaded."""
    ended = command(inspect.main, tmp_path / "none.png", "--prompts", tiny_prompts)
    assert ended.exit_code == 2
    assert "none.png: no such image" in ended.stderr


def test_an_unknown_class_is_refused(command: Command, good_images: Path, tiny_config: Path) -> None:
    """The line names the class."""
    ended = command(inspect.main, good_images, "--prompts", "no-such-class", "--config", tiny_config)
    assert ended.exit_code == 2
    assert "no-such-class" in ended.stderr


def test_an_unknown_key_in_the_config_is_refused(
    command: Command, good_images: Path, tiny_prompts: Path, tmp_path: Path
) -> None:
    """File, key and value."""
    config = tmp_path / "config.toml"
    config.write_text("[model]\nnmae = 'x'\n")
    ended = command(inspect.main, good_images, "--prompts", tiny_prompts, "--config", config)
    assert ended.exit_code == 2
    assert "model.nmae = 'x': unknown key" in ended.stderr


def test_grey_sixteen_bit_and_alpha_images_are_judged(
    command: Command, tiny_prompts: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """What cameras deliver is taken as it is."""
    directory = tmp_path / "kinds"
    directory.mkdir()
    grey = np.full((40, 50), 120, dtype=np.uint8)
    cv2.imwrite(str(directory / "grey.png"), grey)
    cv2.imwrite(str(directory / "deep.png"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(directory / "alpha.png"), np.dstack([grey, grey, grey, grey]))
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--json")
    entries = json.loads(command(inspect.main, directory, *options).stdout)["images"]
    assert len({round(entry["score"], 4) for entry in entries}) == 1
    assert len(entries) == 3


def test_a_model_that_gives_no_numbers_is_a_fault_and_never_ok(
    command: Command,
    good_images: Path,
    tiny_prompts: Path,
    tiny_config: Path,
    tiny_settings: ModelSettings,
    tmp_path: Path,
) -> None:
    """Weights with a NaN in them load; every image is FAULT and the command ends with 3."""
    weights = safetensors.torch.load_file(tiny_settings.pretrained)
    weights["visual.proj"][0, 0] = float("nan")
    broken = tmp_path / "broken.safetensors"
    safetensors.torch.save_file(weights, broken)
    config = tmp_path / "config.toml"
    config.write_text(tiny_config.read_text().replace(tiny_settings.pretrained, str(broken)))
    ended = command(inspect.main, good_images, "--prompts", tiny_prompts, "--config", config, "--json")
    assert ended.exit_code == 3
    assert {entry["verdict"] for entry in json.loads(ended.stdout)["images"]} == {"FAULT"}
    assert "30 of 30 images were not judged, the first is" in ended.stderr
