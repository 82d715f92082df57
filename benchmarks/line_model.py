"""A model whose inference costs next to nothing, so that what is measured is the line around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alfa.files import write_atomic

# A tower that timm builds for its own tests: 64 wide, 6 blocks; 36 patches here.
_TOWER = "test_vit"
_WIDTH, _SIDE, _DIM = 64, 96, 32
_BLOCKS = (3, 6)


def write_tiny_model(directory: Path) -> Path:
    """Write a random model in the form of alfa-mini, its patch head included; gives `directory`.

    config.toml takes it as `model.name = "alfa-mini"`, `model.pretrained = "<directory>"`. Its verdicts mean
    nothing.
    """
    # Imported here: who only reads this module's name should not wait for torch.
    import open_clip
    import safetensors.torch
    import torch

    from alfa.model_directory import CONFIG_FILE, IMAGE_TOWER_FILE, TEXT_TOWER_FILE

    description = _description()
    arguments = {key: value for key, value in description["model_cfg"].items() if key != "custom_text"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = open_clip.CustomTextCLIP(**arguments).state_dict()
        head = {
            "patch_head.projection.weight": torch.randn(_DIM - 1, len(_BLOCKS) * _WIDTH),
            "patch_head.query": torch.nn.functional.normalize(torch.randn(_DIM - 1), dim=0),
        }
    prefix = "visual.trunk."
    trunk = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    text_side = {name: value for name, value in tensors.items() if not name.startswith(prefix)} | head
    write_atomic(directory / CONFIG_FILE, json.dumps(description).encode())
    for name, part in ((IMAGE_TOWER_FILE, trunk), (TEXT_TOWER_FILE, text_side)):
        halves = {key: value.half().contiguous() for key, value in part.items()}
        write_atomic(directory / name, safetensors.torch.save(halves))
    return directory


def _description() -> dict[str, Any]:
    return {
        "model_cfg": {
            "embed_dim": _DIM,
            "vision_cfg": {
                "timm_model_name": _TOWER,
                "timm_model_pretrained": False,
                "timm_pool": "token",
                "timm_proj": "linear",
                "image_size": _SIDE,
            },
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
            "custom_text": True,
        },
        "preprocess_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        "patch_head": {"blocks": list(_BLOCKS), "sharpness": 20.0},
    }
