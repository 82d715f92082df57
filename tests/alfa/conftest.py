"""Files for the tiny model of tests/conftest.py: a config that names it, prompts, and a labelled data set."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from alfa.prompting.promptset import PromptSet, save_prompt_set
from alfa.settings import ModelSettings


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory, tiny_settings: ModelSettings) -> Path:
    """A config.toml that names the tiny model."""
    path = tmp_path_factory.mktemp("config") / "config.toml"
    table = [f"{key} = {json.dumps(value)}" for key, value in tiny_settings.model_dump().items()]
    path.write_text("\n".join(["[model]", *table]) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prompt file of a made-up class, with more descriptors than are ever shown."""
    path = tmp_path_factory.mktemp("prompts") / "plate.toml"
    prompts = PromptSet(
        class_name="plate",
        normal=("A normal image of a plate has an even surface.",),
        abnormal=(
            "An abnormal image of a plate shows a scratch.",
            "An abnormal image of a plate shows a dent.",
        ),
        descriptors=("scratch", "dent", "crack", "stain", "missing corner", "bent edge", "hole"),
    )
    save_prompt_set(prompts, path)
    return path


@pytest.fixture
def plate_set(tmp_path: Path) -> Path:
    """A class in the MVTec AD layout; its defect is a bright square, so that brightness tells all."""
    directory = tmp_path / "plate"
    generator = np.random.default_rng(0)
    for number in range(4):
        good = generator.integers(90, 110, (48, 36, 3), dtype=np.uint8)
        bad, mask = good.copy(), np.zeros((48, 36), np.uint8)
        bad[10:30, 10:30], mask[10:30, 10:30] = 250, 255
        pictures = {"train/good": good, "test/good": good, "test/spot": bad, "ground_truth/spot": mask}
        for folder, picture in pictures.items():
            (directory / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(directory / folder / f"{number:03}.png"), picture)
    return directory
