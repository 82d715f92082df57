"""A model of our own kind: config, image tower and text side in a directory, read without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from alfa.clip_model import ClipModel, tokenizer_named, unusable
from alfa.errors import BadInput, cause
from alfa.files import file_hash
from alfa.patch_head import PatchHead

WEIGHTS_DIRECTORY = Path(__file__).parent / "weights"
CONFIG_FILE = "open_clip_config.json"
IMAGE_TOWER_FILE = "image_tower.safetensors"
TEXT_TOWER_FILE = "text_tower.safetensors"

_PATCH_HEAD = "patch_head."
# What initial weights are made with.
_DRAWS = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)


def open_directory(directory: Path) -> ClipModel:
    """A model whose frozen image tower and trained text side lie in two files; offline.

    The image tower keeps the positions of its native grid; the config says at which size it is used.

    Raises:
        BadInput: a file is missing, cut short or does not fit the config.
    """
    config_file, image_file, text_file = (
        _present(directory / name) for name in (CONFIG_FILE, IMAGE_TOWER_FILE, TEXT_TOWER_FILE)
    )
    config = _read_config(config_file)
    clip = _build(config_file, config["model_cfg"])
    _fill(clip.visual.trunk, image_file, _read_tensors(image_file))
    text_side = _read_tensors(text_file)
    patch_head = _take_patch_head(config, text_file, text_side, clip.visual.trunk.embed_dim)
    # The trunk has its own file; the rest of the model must be in this one, and nothing else.
    trunk = {f"visual.trunk.{name}": tensor for name, tensor in clip.visual.trunk.state_dict().items()}
    _fill(clip, text_file, text_side | trunk)
    return ClipModel(
        clip=clip.eval(),
        tokenizer=tokenizer_named(f"{open_clip.factory.LOCAL_DIR_PREFIX}{directory}"),
        model_id=directory.name,
        weights_hash=file_hash(image_file, text_file),
        mean=tuple(config["preprocess_cfg"]["mean"]),
        std=tuple(config["preprocess_cfg"]["std"]),
        patch_head=patch_head,
        half=_half_of(image_file),
    )


def _present(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(path, "", None, "is missing from the model's directory; install the model again")
    return path


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        if config["model_cfg"]["custom_text"] and config["model_cfg"]["vision_cfg"]["timm_model_name"]:
            return config
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(path, "", None, f"is no open_clip model config ({cause(error)})") from error
    raise BadInput(path, "model_cfg", None, "needs custom_text and a timm image tower")


class _Undrawn(TorchFunctionMode):
    """Modules made under it leave their parameters as memory came: drawing numbers for a tower takes seconds.

    What is made so must be filled from a file that has every one of them.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function gives
        kwargs = kwargs or {}
        if func in _DRAWS or getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _build(path: Path, model_config: dict[str, Any]) -> Any:  # noqa: ANN401 - open_clip is untyped
    """The model itself, built directly: `create_model` would warn of random weights that are filled next."""
    arguments = {key: value for key, value in model_config.items() if key != "custom_text"}
    try:
        with _Undrawn():
            return open_clip.CustomTextCLIP(**arguments)
    except (TypeError, RuntimeError) as error:
        raise BadInput(path, "model_cfg", None, f"does not describe a model ({cause(error)})") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """In float32 and in memory of their own: a file that is replaced must not change a model in use."""
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise unusable(path, error) from error
    return {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}


def _half_of(path: Path) -> torch.dtype:
    """The 16-bit format of a tower: float16 where all of it is stored so."""
    with safetensors.safe_open(path, framework="pt") as stored:
        names = stored.keys()
        in_float16 = all(stored.get_slice(name).get_dtype() == "F16" for name in names)
    return torch.float16 if in_float16 else torch.bfloat16


def _fill(module: nn.Module, path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Let every parameter of the module be one of these tensors, none missing and none left over."""
    try:
        module.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise unusable(path, error) from error


def _take_patch_head(
    config: dict[str, Any], path: Path, tensors: dict[str, Tensor], width: int
) -> PatchHead | None:
    """Take `patch_head.*` out of `tensors`, if the config speaks of one; open_clip has no such member."""
    if "patch_head" not in config:
        return None
    try:
        described = config["patch_head"]
        head = PatchHead(described["blocks"], width, config["model_cfg"]["embed_dim"], described["sharpness"])
    except (KeyError, TypeError) as error:
        config_file = path.with_name(CONFIG_FILE)
        raise BadInput(config_file, "patch_head", None, f"does not describe one ({cause(error)})") from error
    taken = {
        name.removeprefix(_PATCH_HEAD): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(_PATCH_HEAD)
    }
    _fill(head, path, taken)
    return head.eval().requires_grad_(False)
