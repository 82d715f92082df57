"""The CLIP-like model: images to global, window and patch embeddings, text to embeddings.

A window is the image tower run on its prefix tokens and that window's patch tokens, which keep their own
positions: tokens are dropped, pixels are not blacked out (Sec. 4.3). Tokens are embedded once an image, and
the windows of the whole batch go through the tower together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alfa.errors import BadInput
from alfa.files import content_hash
from alfa.settings import ModelSettings
from alfa.windows import Grid, window_layout

if TYPE_CHECKING:
    from alfa.pretrained import ClipModel

_TEXT_BATCH = 256
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Part of the hash: a bank made with another way of resizing must not fit.
_RESIZE = "squash; area when shrinking, else cubic"


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """The embeddings of a batch of B images; all rows float32 of unit length.

    Attributes:
        image: f(x), (B, d).
        windows: per scale, (B, N_s, d).
        patches: (B, P, c), the tower's own patch tokens, for the memory bank.
        patch_joint: (B, P, d), patch tokens in the joint space, or None where the model has none.
    """

    image: Tensor
    windows: tuple[Tensor, ...]
    patches: Tensor
    patch_joint: Tensor | None

    def select(self, index: Tensor | Sequence[int] | slice) -> ImageFeatures:
        """The features of some images of the batch, by positions, mask or slice."""
        return ImageFeatures(
            image=self.image[index],
            windows=tuple(level[index] for level in self.windows),
            patches=self.patches[index],
            patch_joint=None if self.patch_joint is None else self.patch_joint[index],
        )


class Backbone:
    """A loaded model on its device. Not for several threads at once: `preprocess` reuses its buffer.

    Attributes:
        settings: what it was loaded with.
        model_id: name and origin of the weights.
        weights_hash: 16 hex digits naming the weights.
        preprocess_hash: 16 hex digits naming size, resizing and normalisation.
        grid: the patch grid.
        scales: window sides in patches, one entry of `ImageFeatures.windows` each.
        image_size: (h, w) in pixels.
        embed_dim: d, of the joint space.
        patch_dim: c, of the tower's patch tokens.
        context_length: longest prompt in tokens, start and end included.
        device: where the model is.
        dtype: of the image tower; text is always encoded in float32.
    """

    def __init__(self, model: ClipModel, settings: ModelSettings) -> None:
        from alfa.towers import tower_of

        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.device = _device(settings.device)
        self.dtype = _dtype(settings.precision, self.device)
        self.settings = settings
        self._model = model
        self._clip = model.clip.requires_grad_(False).to(self.device)
        self._clip.visual.to(self.dtype)
        self._tower = tower_of(self._clip.visual, settings.name)
        self.model_id = model.model_id
        self.weights_hash = model.weights_hash
        self.grid: Grid = self._tower.grid
        self.image_size = self._tower.image_size
        self.patch_dim = self._tower.patch_dim
        self.scales = settings.scales
        self.context_length: int = model.tokenizer.context_length
        self._positions = tuple(self._token_positions(scale) for scale in self.scales)
        self._window_batch = settings.window_batch
        projection = model.patch_projection if settings.patch_level else None
        self._patch_projection = None if projection is None else projection.to(self.device)
        self._gain, self._shift = _normalisation(model.mean, model.std, self.device)
        self.preprocess_hash = _preprocess_hash(self.image_size, model.mean, model.std)
        self._staging = torch.empty(0, *self.image_size, 3, dtype=torch.uint8)
        self.embed_dim: int = self.encode_text([""]).shape[1]

    @classmethod
    def load(cls, settings: ModelSettings) -> Backbone:
        """Load the model that the settings name.

        Raises:
            BadInput: unknown name, tag or device, unusable weights file, or scales that do not fit the grid.
            Fault: weights had to be downloaded and could not be.
        """
        # Imported here, so that everything that only names a backbone starts without open_clip.
        from alfa.pretrained import open_model

        _device(settings.device)
        return cls(open_model(settings), settings)

    @classmethod
    def load_directory(cls, directory: Path, settings: ModelSettings) -> Backbone:
        """Load a model of the embedded kind (config, image tower, text tower) from a directory.

        Raises:
            BadInput: a file is missing, cut short or does not fit the config.
        """
        from alfa.pretrained import open_directory

        _device(settings.device)
        return cls(open_directory(directory), settings)

    def preprocess(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Resize straight to the model's size and normalise.

        Args:
            images: RGB, uint8, (H, W, 3), of any sizes.

        Returns:
            (B, 3, h, w) on the device, in the tower's dtype.
        """
        staging = self._staging_for(len(images))
        size = (self.image_size[1], self.image_size[0])
        # The one loop over images: every camera may have its own size.
        for image, target in zip(images, staging.numpy(), strict=True):
            shrinking = image.shape[0] * image.shape[1] > size[0] * size[1]
            cv2.resize(
                image, size, dst=target, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
            )
        pixels = staging.to(self.device).permute(0, 3, 1, 2).to(torch.float32)
        return torch.addcmul(self._shift, pixels, self._gain).to(self.dtype)

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """All embeddings of a batch of preprocessed images.

        Args:
            pixels: (B, 3, h, w), as `preprocess` gives it.
        """
        tokens = self._tower.embed(pixels)
        hidden = self._tower.transform(tokens)
        patches = self._tower.patches(hidden).float()
        return ImageFeatures(
            image=_unit(self._tower.pool(hidden)),
            windows=tuple(self._encode_windows(tokens, positions) for positions in self._positions),
            patches=_unit(patches),
            patch_joint=None if self._patch_projection is None else _unit(self._patch_projection(patches)),
        )

    @torch.inference_mode()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """g(t) of each prompt: (n, d), unit, float32, on the device. Long prompts are cut."""
        tokens = self._model.tokenizer(list(prompts)).to(self.device)
        parts = [self._clip.encode_text(batch) for batch in torch.split(tokens, _TEXT_BATCH)]
        return _unit(torch.cat(parts))

    def token_counts(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt, start and end tokens included, before any cut."""
        return self._model.token_counts(prompts)

    def _encode_windows(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(B, T, c) embedded tokens and (N, L) token positions of N windows -> (B, N, d)."""
        images, length, width = tokens.shape
        offsets = torch.arange(images, device=self.device)[:, None, None] * length
        rows = (offsets + positions).flatten(0, 1)
        flat = tokens.reshape(-1, width)
        passes = torch.split(rows, self._window_batch)
        pooled = torch.cat([self._tower.pool(self._tower.transform(flat[part])) for part in passes])
        return _unit(pooled).view(images, len(positions), -1)

    def _token_positions(self, scale: int) -> Tensor:
        """(N, prefix + s*s): where in an image's tokens each window finds its own."""
        prefix = self._tower.prefix
        patches = window_layout(self.grid, scale, self.device).indices + prefix
        return torch.cat([torch.arange(prefix, device=self.device).expand(len(patches), -1), patches], dim=1)

    def _staging_for(self, count: int) -> Tensor:
        """The first `count` images of the reused buffer, page-locked where a GPU fetches them."""
        if len(self._staging) < count:
            pinned = self.device.type == "cuda"
            self._staging = torch.empty(count, *self.image_size, 3, dtype=torch.uint8, pin_memory=pinned)
        return self._staging[:count]


def _unit(embeddings: Tensor) -> Tensor:
    return functional.normalize(embeddings.float(), dim=-1)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        advice = f"this machine offers {found} CUDA device(s) to torch; use auto or cpu, or check the driver"
        raise BadInput("model", "device", name, advice)
    return device


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[precision]


def _normalisation(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """(x / 255 - mean) / std as x * gain + shift; both (1, 3, 1, 1)."""
    means, stds = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    return 1 / (255 * stds), -means / stds


def _preprocess_hash(size: tuple[int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    described = {"size": size, "mean": mean, "std": std, "resize": _RESIZE}
    return content_hash(json.dumps(described, sort_keys=True).encode())
