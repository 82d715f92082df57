"""Where a model's weights come from: the embedded model, a local file, or a hub that open_clip knows.

Importing this module imports open_clip, which takes seconds: `alfa.backbone` does so on loading only.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import pickle
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from safetensors import SafetensorError
from torch import nn

from alfa.clip_model import ClipModel, tokenizer_named, unusable
from alfa.errors import BadInput, Fault, cause
from alfa.files import HASH_DIGITS, file_hash
from alfa.model_directory import WEIGHTS_DIRECTORY, open_directory
from alfa.settings import EMBEDDED_MODEL, ModelSettings

_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
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
_TAGS_SHOWN = 5
_HUB_ANSWERS_WITHIN_S = 10.0

_log = logging.getLogger(__name__)


def open_model(settings: ModelSettings) -> ClipModel:
    """The model that the settings name.

    Raises:
        BadInput: unknown name or tag, or a weights file that is missing, cut short or of another model.
        Fault: the weights had to be downloaded and could not be.
    """
    if settings.name == EMBEDDED_MODEL:
        return open_directory(_directory(settings.pretrained))
    _require_known(settings.name)
    tokenizer = tokenizer_named(settings.name)
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
        raise unusable(origin.path, error) from error


def _random_weights_hash(name: str, clip: nn.Module) -> str:
    _log.warning("model %s has random weights: its verdicts mean nothing; set model.pretrained", name)
    digest = hashlib.sha256()
    for key, tensor in sorted(clip.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:HASH_DIGITS]
