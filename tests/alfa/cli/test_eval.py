"""`alfa-eval` on a tiny model: what it reports and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from alfa.cli import eval as eval_command

Command = Callable[..., Any]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A class whose defect is a bright square: brightness alone tells the kinds apart."""
    directory = tmp_path / "plate"
    rng = np.random.default_rng(0)
    for number in range(4):
        good = rng.integers(90, 110, (48, 36, 3), dtype=np.uint8)
        bad, mask = good.copy(), np.zeros((48, 36), np.uint8)
        bad[10:30, 10:30], mask[10:30, 10:30] = 250, 255
        pictures = {"train/good": good, "test/good": good, "test/spot": bad, "ground_truth/spot": mask}
        for folder, picture in pictures.items():
            (directory / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(directory / folder / f"{number:03}.png"), picture)
    return directory


def test_it_reports_the_method_beside_the_trivial_baselines(
    command: Command, dataset: Path, tiny_prompts: Path, tiny_config: Path
) -> None:
    """Brightness is right about every bright spot, image and pixel."""
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--json")
    ended = command(eval_command.main, dataset, *options)
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["dataset"], report["good"], report["defective"]) == ("plate", 4, 4)
    assert report["auroc"]["mean brightness"] == {"image": 1.0, "pixel": pytest.approx(1.0, abs=0.01)}
    assert 0 <= report["auroc"]["ALFA"]["image"] <= 1


def test_shots_teach_a_bank_first(
    command: Command, dataset: Path, tiny_prompts: Path, tiny_config: Path
) -> None:
    """The report names the bank; the good test images are those taught, so nothing is nearer to it."""
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--json", "--shots", 4)
    ended = command(eval_command.main, dataset, *options)
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["shots"] == 4
    assert len(report["bank_hash"]) == 16


def test_a_limit_keeps_both_kinds(
    command: Command, dataset: Path, tiny_prompts: Path, tiny_config: Path
) -> None:
    """Half of eight images is two of each kind; the table says so."""
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--limit", 4)
    ended = command(eval_command.main, dataset, *options)
    assert ended.exit_code == 0, ended.stderr
    assert "2 good, 2 defective" in " ".join(ended.stdout.split())


def test_more_shots_than_training_images_are_refused(
    command: Command, dataset: Path, tiny_prompts: Path, tiny_config: Path
) -> None:
    """One line, exit 2, before the model is loaded."""
    options = ("--prompts", tiny_prompts, "--config", tiny_config, "--shots", 5)
    ended = command(eval_command.main, dataset, *options)
    assert ended.exit_code == 2
    assert "--shots = 5" in ended.stderr
    assert "holds 4 images" in ended.stderr


def test_shots_and_a_bank_do_not_go_together(
    command: Command, dataset: Path, tiny_prompts: Path, tmp_path: Path
) -> None:
    """Which of the two would count is not to be guessed."""
    options = ("--prompts", tiny_prompts, "--shots", 1, "--bank", tmp_path / "bank.safetensors")
    ended = command(eval_command.main, dataset, *options)
    assert ended.exit_code == 2
    assert "does not go with --bank" in ended.stderr
