"""A whole model small enough for tests: open_clip builds it, its random weights come from a file."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch

from alfa.backbone import Backbone
from alfa.prompting.promptset import PromptSet, save_prompt_set
from alfa.settings import ModelSettings

TINY_MODEL = "tiny-clip"
# 4 x 3 patches: nothing may rely on a square grid.
_TINY_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": [48, 36], "layers": 2, "width": 32, "head_width": 16, "patch_size": 12},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def tiny_settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """Settings that load the tiny model, the same weights each time."""
    directory = tmp_path_factory.mktemp("tiny-clip")
    config = directory / f"{TINY_MODEL}.json"
    config.write_text(json.dumps(_TINY_CONFIG))
    open_clip.add_model_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(TINY_MODEL)
    weights = directory / "tiny.safetensors"
    safetensors.torch.save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, weights
    )
    return ModelSettings(name=TINY_MODEL, pretrained=str(weights), device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def tiny_backbone(tiny_settings: ModelSettings) -> Backbone:
    """The tiny model, loaded the way every model is."""
    return Backbone.load(tiny_settings)


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
