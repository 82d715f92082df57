"""Where a model's weights come from: the embedded model, a local file, or a hub that open_clip knows.

Importing this module imports open_clip, which takes seconds: `alfa.backbone` does so on loading only.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import pickle
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import safetensors.torch
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from alfa.errors import BadInput, Fault, cause
from alfa.files import HASH_DIGITS, file_hash
from alfa.patch_head import PatchHead
from alfa.settings import EMBEDDED_MODEL, ModelSettings

WEIGHTS_DIRECTORY = Path(__file__).parent / "weights"
CONFIG_FILE = "open_clip_config.json"
IMAGE_TOWER_FILE = "image_tower.safetensors"
TEXT_TOWER_FILE = "text_tower.safetensors"

_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_PATCH_HEAD = "patch_head."
# What open_clip, torch and safetensors raise on a file that is damaged or holds something else.
_DAMAGED = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    StopIteration,
    AssertionError,
    pickle.UnpicklingError,
    SafetensorError,
)
# What initial weights are made with.
_DRAWS = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)
_TAGS_SHOWN = 5
_HUB_ANSWERS_WITHIN_S = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ClipModel:
    """An open_clip model with its weights, in evaluation mode, float32, on the CPU.

    Attributes:
        clip: open_clip's CLIP, CustomTextCLIP or CoCa.
        tokenizer: open_clip's tokenizer for it.
        model_id: name and origin of the weights, such as `ViT-B-16-plus-240/laion400m_e32`.
        weights_hash: first digits of SHA-256 over the weight files, or over the random weights.
        mean: per channel, in [0, 1].
        std: per channel, in [0, 1].
        patch_head: for text-aligned patch tokens, where the model has them.
        half: the 16-bit format for its image tower on a GPU: float16 where its weights are stored so, else
            bfloat16, which is rougher but overflows no sooner than float32.
    """

    clip: Any
    tokenizer: Any
    model_id: str
    weights_hash: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    patch_head: PatchHead | None = None
    half: torch.dtype = torch.bfloat16

    def token_counts(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt, start and end tokens included, before any cut."""
        if isinstance(self.tokenizer, SimpleTokenizer):
            return [len(self.tokenizer.encode(prompt)) + 2 for prompt in prompts]
        cleaned = [self.tokenizer.clean_fn(prompt) for prompt in prompts]
        return [len(tokens) for tokens in self.tokenizer.tokenizer(cleaned).input_ids]


def open_model(settings: ModelSettings) -> ClipModel:
    """The model that the settings name.

    Raises:
        BadInput: unknown name or tag, or a weights file that is missing, cut short or of another model.
        Fault: the weights had to be downloaded and could not be.
    """
    if settings.name == EMBEDDED_MODEL:
        return open_directory(_directory(settings.pretrained))
    _require_known(settings.name)
    tokenizer = _tokenizer(settings.name)
    origin = _locate(settings.name, settings.pretrained)
    clip = _create(settings.name, origin)
    preprocess = open_clip.get_model_preprocess_cfg(clip)
    label = Path(settings.pretrained).name if settings.pretrained else ""
    return ClipModel(
        clip=clip.eval(),
        tokenizer=tokenizer,
        model_id="/".join(part for part in (settings.name, label) if part),
        weights_hash=file_hash(origin.path) if origin.path else _random_weights_hash(settings.name, clip),
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
    )


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
        tokenizer=_tokenizer(f"{open_clip.factory.LOCAL_DIR_PREFIX}{directory}"),
        model_id=directory.name,
        weights_hash=file_hash(image_file, text_file),
        mean=tuple(config["preprocess_cfg"]["mean"]),
        std=tuple(config["preprocess_cfg"]["std"]),
        patch_head=patch_head,
        half=_half_of(image_file),
    )


def _directory(pretrained: str) -> Path:
    """The embedded weights, or others of the same kind: made again, or without a set (docs/alfa-mini.md)."""
    if not pretrained:
        return WEIGHTS_DIRECTORY / EMBEDDED_MODEL
    directory = Path(pretrained)
    if not directory.is_dir():
        advice = f"is no directory; {EMBEDDED_MODEL} brings its own weights, so leave this empty"
        raise BadInput("model", "pretrained", pretrained, advice)
    return directory


@dataclass(frozen=True, slots=True)
class _Origin:
    """A weights file and what open_clip knows about it: channel statistics, activation."""

    path: Path | None
    preprocess: dict[str, Any]
    quick_gelu: bool = False


def _require_known(name: str) -> None:
    known = open_clip.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, [EMBEDDED_MODEL, *known], n=3, cutoff=0.5)
        hint = f", such as {', '.join(near)}" if near else ""
        raise BadInput(
            "model", "name", name, f"unknown model; use {EMBEDDED_MODEL} or one of open_clip's{hint}"
        )


def _locate(name: str, pretrained: str) -> _Origin:
    """The weights file that `pretrained` means: none, a tag's (downloaded if need be), or a local one."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not pretrained:
        return _Origin(None, _statistics(name, tags))
    if pretrained in tags:
        tag = get_pretrained_cfg(name, pretrained)
        path = _cached(tag) or _download(f"{name}/{pretrained}", tag)
        return _Origin(path, _statistics(name, [pretrained]), tag.get("quick_gelu", False))
    path = Path(pretrained)
    if not path.is_file():
        shown = ", ".join(tags[:_TAGS_SHOWN]) + (", ..." if len(tags) > _TAGS_SHOWN else "")
        advice = f"is no file and no tag of {name} ({shown or 'it has none'}); check the path"
        raise BadInput("model", "pretrained", pretrained, advice)
    if path.suffix not in _WEIGHT_SUFFIXES:
        raise BadInput(path, "", None, f"is no weights file by its name; use {' '.join(_WEIGHT_SUFFIXES)}")
    return _Origin(path, _statistics(name, tags))


def _statistics(name: str, tags: Sequence[str]) -> dict[str, Any]:
    """Mean and std that the model's published weights were trained with; a bare file does not say."""
    published = get_pretrained_cfg(name, tags[0]) if tags else {}
    return {key: published[key] for key in ("mean", "std") if key in published}


def _cached(tag: dict[str, Any]) -> Path | None:
    """The tag's file if it was downloaded before: a plant without internet must not wait for the hub.

    The names are those that open_clip itself tries, in its order.
    """
    repository, _, filename = tag.get("hf_hub", "").rpartition("/")
    if not repository:
        return None
    for candidate in [filename] if filename else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
        found = huggingface_hub.try_to_load_from_cache(repository, candidate)
        if isinstance(found, str):
            return Path(found)
    return None


def _download(label: str, tag: dict[str, Any]) -> Path:
    """Download a tag's file into the hub's cache.

    A failure is a fault, not bad input: the name is right; network, proxy or hub failed it.
    """
    try:
        if tag.get("hf_hub"):
            _require_reachable(huggingface_hub.constants.ENDPOINT)
        return Path(download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        detail = f"{label} cannot be downloaded ({cause(error)}); set model.pretrained to a local file"
        raise Fault("weights_unavailable", detail) from error


def _require_reachable(address: str) -> None:
    """One quick request: the hub's own client retries for most of a minute, with a dozen lines of warnings.

    Raises:
        OSError: nobody answers there.
    """
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - the hub's address, from its client
    try:
        with urllib.request.urlopen(request, timeout=_HUB_ANSWERS_WITHIN_S):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return  # it answered
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):
            raise
        # The hub's client may know a plant's own certificates where urllib does not.


def _create(name: str, origin: _Origin) -> Any:  # noqa: ANN401 - open_clip is untyped
    try:
        return open_clip.create_model(
            name,
            pretrained=str(origin.path) if origin.path else None,
            force_quick_gelu=origin.quick_gelu,
            force_preprocess_cfg=origin.preprocess,
            pretrained_text=False,
        )
    except _DAMAGED as error:
        if origin.path is None:
            raise
        raise _unusable(origin.path, error) from error


def _tokenizer(name: str) -> Any:  # noqa: ANN401 - open_clip is untyped
    try:
        tokenizer = open_clip.get_tokenizer(name)
    except ModuleNotFoundError as error:
        advice = f"its tokenizer needs the package {error.name}; install it"
        raise BadInput("model", "name", name, advice) from error
    except (OSError, ValueError) as error:
        detail = f"the tokenizer of {name} cannot be downloaded or read ({cause(error)})"
        raise Fault("tokenizer_unavailable", detail) from error
    if not isinstance(tokenizer, (SimpleTokenizer, HFTokenizer)):
        raise BadInput("model", "name", name, "its tokenizer is not supported; choose another model")
    return tokenizer


def _random_weights_hash(name: str, clip: nn.Module) -> str:
    _log.warning("model %s has random weights: its verdicts mean nothing; set model.pretrained", name)
    digest = hashlib.sha256()
    for key, tensor in sorted(clip.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:HASH_DIGITS]


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
        raise _unusable(path, error) from error
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
        raise _unusable(path, error) from error


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


def _unusable(path: Path, error: BaseException) -> BadInput:
    advice = f"is cut short or holds the weights of another model ({cause(error)}); copy it again"
    return BadInput(path, "", None, advice)
