"""The shipped model: it fits, loads offline, and reads prompts of classes that it was never trained on."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from alfa.backbone import Backbone
from alfa.model_directory import WEIGHTS_DIRECTORY
from alfa.prompting.promptset import available_classes, load_prompt_set, sides
from alfa.settings import ModelSettings

_LARGEST_BYTES = 64 * 1024 * 1024
_ON_THEIR_SIDE = 0.97


@pytest.fixture(scope="module")
def alfa_mini() -> Backbone:
    """The default model, on the CPU."""
    return Backbone.load(ModelSettings(device="cpu", precision="fp32"))


def test_all_files_together_stay_small() -> None:
    """They travel with every clone."""
    files = list((WEIGHTS_DIRECTORY / "alfa-mini").iterdir())
    assert sum(file.stat().st_size for file in files) <= _LARGEST_BYTES


def test_it_offers_text_aligned_patches(alfa_mini: Backbone) -> None:
    """One more level beside the windows, in the space that text is in."""
    pixels = torch.zeros(1, 3, *alfa_mini.image_size)
    features = alfa_mini.encode_images(pixels)
    assert features.patch_joint is not None
    assert features.patch_joint.shape == (1, alfa_mini.grid.patches, alfa_mini.embed_dim)


@pytest.mark.parametrize("class_name", ["bottle", "magnetic_tile", "generic"])
def test_prompts_of_an_unseen_class_land_on_their_side(alfa_mini: Backbone, class_name: str) -> None:
    """All but a few prompts are nearer to the mean of their own side than to the other's."""
    normal, abnormal = sides(load_prompt_set(available_classes()[class_name]))
    embedded = [alfa_mini.encode_text(side) for side in (normal, abnormal)]
    means = torch.stack([functional.normalize(side.mean(0), dim=0) for side in embedded])
    for own, side in enumerate(embedded):
        nearest = (side @ means.T).argmax(dim=1)
        assert (nearest == own).float().mean() > _ON_THEIR_SIDE
