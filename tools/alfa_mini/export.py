"""The model's three files: config, frozen image tower, trained text side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from alfa.files import write_atomic
from alfa.model_directory import CONFIG_FILE, IMAGE_TOWER_FILE, TEXT_TOWER_FILE

IMAGE_SIZE = 224
_TRUNK = "vit_small_patch14_dinov2"
PATCH_DIM = 384
CONTEXT_LENGTH = 77
VOCABULARY = 49408
# ImageNet's, which the tower was trained with.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def config(
    embed_dim: int, width: int, layers: int, heads: int, patch_head: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The open_clip config of a model of this kind; `patch_head` says what its patch tokens go through."""
    described = {} if patch_head is None else {"patch_head": patch_head}
    return {
        "model_cfg": {
            "embed_dim": embed_dim,
            "vision_cfg": {
                "timm_model_name": _TRUNK,
                "timm_model_pretrained": False,
                "timm_pool": "token",
                "timm_proj": "none",
                "image_size": IMAGE_SIZE,
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": VOCABULARY,
                "width": width,
                "heads": heads,
                "layers": layers,
            },
            "custom_text": True,
        },
        "preprocess_cfg": {"mean": list(_MEAN), "std": list(_STD)},
        **described,
    }


def write_model(
    out: Path, description: dict[str, Any], image_tower: Path, text_side: dict[str, Tensor]
) -> None:
    """Write the three files, each whole or not at all; a tower that is there already stays untouched.

    Args:
        out: the model's directory.
        description: from `config`.
        image_tower: the frozen tower's file, copied as float16.
        text_side: `text.*`, `logit_scale`, `patch_head.*`.
    """
    write_atomic(out / CONFIG_FILE, (json.dumps(description, indent=2) + "\n").encode())
    write_half(out / IMAGE_TOWER_FILE, safetensors.torch.load_file(image_tower))
    write_half(out / TEXT_TOWER_FILE, text_side)


def write_half(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as float16."""
    halves = {
        name: tensor.detach().to(torch.float16).contiguous() for name, tensor in sorted(tensors.items())
    }
    write_atomic(path, safetensors.torch.save(halves))
