"""Files for the tiny model of tests/conftest.py: a config that names it, and prompts."""

from __future__ import annotations

import json
from pathlib import Path

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
