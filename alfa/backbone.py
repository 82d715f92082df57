"""The CLIP-like model: images to global, window and patch embeddings, text to embeddings.

A window is the image tower run on its prefix tokens and that window's patch tokens, which keep their own
positions: tokens are dropped, pixels are not blacked out (Sec. 4.3). Tokens are embedded once an image, and
the windows of the whole batch go through the tower together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alfa.errors import BadInput
from alfa.preprocessing import Frontend, Preprocessor
from alfa.settings import ModelSettings, uses_windows
from alfa.windows import Grid, window_layout

if TYPE_CHECKING:
    from alfa.pretrained import ClipModel
    from alfa.towers import Tower, Traced

_TEXT_BATCH = 256
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True, eq=False)
class ValueVectors:
    """Value vectors (Eq. 7) of a batch of B images in the joint space, unit length; for aligners that ask.

    They are of the blocks that the model's embeddings are made of: the last one, or those of its patch head.
    In front of the patches stands what the embedding is read from: the class token, or the patches pooled.

    Attributes:
        tokens: (B, 1 + P, d), image pass.
        windows: per scale (B, N_s, d), window pass: what stands in front.
        agreement: per scale (B, N_s, 1 + s*s): inner products of the window's embedding with the values of
            its own tokens in the window pass.
    """

    tokens: Tensor
    windows: tuple[Tensor, ...]
    agreement: tuple[Tensor, ...]

    def select(self, index: Tensor | Sequence[int] | slice) -> ValueVectors:
        """Those of some images of the batch."""
        return ValueVectors(
            tokens=self.tokens[index],
            windows=tuple(level[index] for level in self.windows),
            agreement=tuple(level[index] for level in self.agreement),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """The embeddings of a batch of B images of one size; all rows float32 of unit length.

    Attributes:
        grid: P patches in rows and columns.
        image: f(x), (B, d).
        windows: per scale, (B, N_s, d).
        patches: (B, P, c), the tower's own patch tokens, after the last block.
        patch_joint: (B, P, d), patch tokens in the joint space, or None where the model has none.
        values: value vectors, where the aligner needs them.
        middle: (B, P, c) each, patch tokens after the tower's middle blocks, for the memory bank.
    """

    grid: Grid
    image: Tensor
    windows: tuple[Tensor, ...]
    patches: Tensor
    patch_joint: Tensor | None
    values: ValueVectors | None = None
    middle: tuple[Tensor, ...] = ()

    def select(self, index: Tensor | Sequence[int] | slice) -> ImageFeatures:
        """The features of some images of the batch, by positions, mask or slice."""
        return ImageFeatures(
            grid=self.grid,
            image=self.image[index],
            windows=tuple(level[index] for level in self.windows),
            patches=self.patches[index],
            patch_joint=None if self.patch_joint is None else self.patch_joint[index],
            values=None if self.values is None else self.values.select(index),
            middle=tuple(level[index] for level in self.middle),
        )


class _WindowLevel(NamedTuple):
    """All windows of one scale: (B, N, d), and the (B, N, ...) of `ValueVectors` or nothing."""

    embeddings: Tensor
    values: Tensor
    agreement: Tensor


class Backbone:
    """A loaded model on its device.

    Attributes:
        settings: what it was loaded with.
        model_id: name and origin of the weights.
        weights_hash: 16 hex digits naming the weights.
        preprocessor: makes its input of captured images.
        grid: the patch grid of an image of the model's own shape.
        scales: window sides in patches, one entry of `ImageFeatures.windows` each; none where the map is made
            of patch tokens alone.
        image_size: (h, w) in pixels, of such an image.
        patch_size: side of a patch in pixels.
        embed_dim: d, of the joint space.
        patch_dim: c, of the tower's patch tokens.
        patch_blocks: the blocks, counted from 1, whose patch tokens are given; the last block last.
        context_length: longest prompt in tokens, start and end included.
        device: where the model is.
        dtype: of the image tower; text is always encoded in float32.
    """

    def __init__(self, model: ClipModel, settings: ModelSettings) -> None:
        from alfa.towers import middle_blocks, tower_of

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
        self.patch_size = self._tower.patch_size
        self.grid = _square_or_native_grid(self._tower, settings.resolution)
        self.image_size = (self.grid.rows * self.patch_size, self.grid.cols * self.patch_size)
        self.patch_dim = self._tower.patch_dim
        self.patch_blocks = (*middle_blocks(self._tower.depth), self._tower.depth)
        self._patch_head = None if model.patch_head is None else model.patch_head.to(self.device)
        self._value_blocks = self._blocks_of_values()
        self._require_patches_for(settings.local)
        self.scales = settings.scales if uses_windows(settings.local, self.has_joint_patches) else ()
        for scale in self.scales:
            window_layout(self.grid, scale)  # refuses a scale that does not fit, before any image comes
        self.context_length: int = model.tokenizer.context_length
        self._window_batch = settings.window_batch
        frontend = Frontend(
            grid=self.grid,
            patch_size=self.patch_size,
            fewest=max(self.scales, default=1),
            keep_aspect=settings.keep_aspect,
            mean=model.mean,
            std=model.std,
        )
        self.preprocessor = Preprocessor(frontend, self.device, self.dtype)
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

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """All embeddings of a batch of images of one size.

        Args:
            pixels: (B, 3, h, w), as the preprocessor gives them; h and w are multiples of the patch size.
        """
        grid = Grid(pixels.shape[2] // self.patch_size, pixels.shape[3] // self.patch_size)
        tokens = self._tower.embed(pixels)
        traced = self._tower.trace(tokens, self._value_blocks)
        levels = self._patch_levels(traced)
        windows = [self._encode_windows(tokens, grid, scale) for scale in self.scales]
        return ImageFeatures(
            grid=grid,
            image=self._embedding(traced),
            windows=tuple(level.embeddings for level in windows),
            patches=levels[-1],
            patch_joint=None if self._patch_head is None else self._joint_patches(levels),
            values=self._value_vectors(traced.values, windows) if traced.values else None,
            middle=tuple(levels[:-1]),
        )

    @property
    def preprocess_hash(self) -> str:
        """16 hex digits naming size, resizing and normalisation."""
        return self.preprocessor.hash

    @property
    def has_joint_patches(self) -> bool:
        """Whether the model has text-aligned patch tokens."""
        return self._patch_head is not None

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[tuple[int, ...], ImageFeatures]]:
        """Preprocess and encode: per size of image, positions in the list and features."""
        return [
            (batch.positions, self.encode_images(batch.pixels)) for batch in self.preprocessor.prepare(images)
        ]

    @torch.inference_mode()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """g(t) of each prompt: (n, d), unit, float32, on the device. Long prompts are cut."""
        tokens = self._model.tokenizer(list(prompts)).to(self.device)
        parts = [self._clip.encode_text(batch) for batch in torch.split(tokens, _TEXT_BATCH)]
        return _unit(torch.cat(parts))

    def token_counts(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt, start and end tokens included, before any cut."""
        return self._model.token_counts(prompts)

    def _encode_windows(self, tokens: Tensor, grid: Grid, scale: int) -> _WindowLevel:
        """(B, T, c) embedded tokens -> all N windows of a scale, with (B, N, ...) rows."""
        positions = self._window_positions(grid, scale)
        images, length, width = tokens.shape
        offsets = torch.arange(images, device=self.device)[:, None, None] * length
        rows = (offsets + positions).flatten(0, 1)
        flat = tokens.reshape(-1, width)
        passes = [self._encode_pass(flat[part]) for part in torch.split(rows, self._window_batch)]
        joined = (torch.cat(parts) for parts in zip(*passes, strict=True))
        return _WindowLevel(*(part.view(images, len(positions), *part.shape[1:]) for part in joined))

    def _encode_pass(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, L, c) tokens of n windows -> embeddings, and values and agreement (empty where not needed)."""
        if self._patch_head is None and not self._value_blocks:
            # Nothing on the way is asked for: no reason to keep and norm the middle tokens of every window.
            embeddings = _unit(self._tower.pool(self._tower.transform(tokens)))
            return embeddings, embeddings[:, :0], embeddings[:, :0]
        traced = self._tower.trace(tokens, self._value_blocks)
        embeddings = self._embedding(traced)
        if not traced.values:
            return embeddings, embeddings[:, :0], embeddings[:, :0]
        own = self._joint_values(traced.values)
        return embeddings, own[:, 0], torch.einsum("ntd,nd->nt", own, embeddings)

    def _embedding(self, traced: Traced) -> Tensor:
        """(n, d), unit: of an image or a window, from its tokens."""
        if self._patch_head is None:
            return _unit(self._tower.pool(traced.hidden))
        return self._patch_head.pool(self._joint_patches(self._patch_levels(traced)))

    def _patch_levels(self, traced: Traced) -> list[Tensor]:
        """Patch tokens after each of `patch_blocks`, (n, P, c), unit."""
        return [_unit(self._tower.patches(hidden)) for hidden in (*traced.middle, traced.hidden)]

    def _joint_patches(self, levels: Sequence[Tensor]) -> Tensor:
        """Patch tokens of all `patch_blocks` -> (n, P, d), unit, in the joint space."""
        assert self._patch_head is not None
        return self._patch_head.patches(
            [levels[self.patch_blocks.index(block)] for block in self._patch_head.blocks]
        )

    def _require_patches_for(self, local: str) -> None:
        if local in ("patches", "both") and not self.has_joint_patches:
            advice = f"{self.model_id} has no text-aligned patch tokens; use auto or windows"
            raise BadInput("model", "local", local, advice)

    def _blocks_of_values(self) -> tuple[int, ...]:
        """The blocks that embeddings are made of, where the aligner reads value vectors."""
        if not self.settings.needs_values:
            return ()
        return (self._tower.depth,) if self._patch_head is None else tuple(sorted(self._patch_head.blocks))

    def _value_vectors(self, values: Sequence[Tensor], windows: Sequence[_WindowLevel]) -> ValueVectors:
        return ValueVectors(
            tokens=self._joint_values(values),
            windows=tuple(level.values for level in windows),
            agreement=tuple(level.agreement for level in windows),
        )

    def _joint_values(self, values: Sequence[Tensor]) -> Tensor:
        """Per value block (n, prefix + patches, c) -> (n, 1 + patches, d), unit, in the joint space."""
        if self._patch_head is None:
            return self._pooled_one_by_one(self._class_and_patches(values[-1]))
        levels = dict(zip(self._value_blocks, map(self._tower.patches, values), strict=True))
        patches = self._patch_head.patches([_unit(levels[block]) for block in self._patch_head.blocks])
        return torch.cat([self._patch_head.pool(patches)[:, None], patches], dim=1)

    def _class_and_patches(self, values: Tensor) -> Tensor:
        """(n, prefix + patches, c) -> (n, 1 + patches, c).

        Without a class token the patches' mean stands in.
        """
        patches = values[:, self._tower.prefix :]
        first = values[:, :1] if self._tower.prefix else patches.mean(dim=1, keepdim=True)
        return torch.cat([first, patches], dim=1)

    def _pooled_one_by_one(self, values: Tensor) -> Tensor:
        """(n, t, c) tower vectors -> (n, t, d), unit, in the joint space.

        Each is pooled as an image all of whose tokens are that vector: so it meets final norm, pooling of any
        kind and projection on the tower's own way.
        """
        count, tokens = values.shape[:2]
        alike = values.flatten(0, 1)[:, None].expand(-1, self._tower.prefix + 1, -1)
        return _unit(self._tower.pool(alike)).view(count, tokens, -1)

    def _window_positions(self, grid: Grid, scale: int) -> Tensor:
        return _window_positions(grid, scale, self._tower.prefix, self.device)


@lru_cache(maxsize=64)
def _window_positions(grid: Grid, scale: int, prefix: int, device: torch.device) -> Tensor:
    """(N, prefix + s*s): where in an image's tokens each window finds its own."""
    patches = window_layout(grid, scale, device).indices + prefix
    return torch.cat([torch.arange(prefix, device=device).expand(len(patches), -1), patches], dim=1)


def _square_or_native_grid(tower: Tower, resolution: int) -> Grid:
    """The grid at the model's own size, or of a square image of `resolution` pixels a side."""
    patch = tower.patch_size
    if not resolution:
        return Grid(tower.image_size[0] // patch, tower.image_size[1] // patch)
    if resolution % patch:
        near = max(1, round(resolution / patch)) * patch
        raise BadInput(
            "model", "resolution", resolution, f"is no multiple of the patch size {patch}; use {near}"
        )
    return Grid(resolution // patch, resolution // patch)


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
