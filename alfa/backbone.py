"""The CLIP-like model: images to global, window and patch embeddings, text to embeddings.

A window is the image tower run on its prefix tokens and that window's patch tokens, which keep their own
positions: tokens are dropped, pixels are not blacked out (Sec. 4.3). Tokens are embedded once an image, and
the windows of the whole batch go through the tower together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alfa.blocks import Run, unpacked
from alfa.cuda_graphs import RecordedPasses
from alfa.device import device_named, dtype_for
from alfa.errors import BadInput
from alfa.features import ImageFeatures, ValueVectors
from alfa.passes import Tower, Traced, middle_blocks, read_out, trace
from alfa.preprocessing import Frontend, Preprocessor
from alfa.settings import ModelSettings, uses_windows
from alfa.window_pass import WindowBatch, window_batches
from alfa.windows import Grid, WindowLayout, window_layout

if TYPE_CHECKING:
    from alfa.clip_model import ClipModel

_TEXT_BATCH = 256
# Window tokens in one pass: few launches on a GPU, rows that stay in the cache on a CPU.
_TOKENS_AT_ONCE = {"cuda": 65536, "cpu": 1024}


class _WindowLevel(NamedTuple):
    """Windows of one scale: embeddings (..., d), and the values and agreement of `ValueVectors` or nothing.

    In front (n,) for the windows of a pass, (B, N) for all of them.
    """

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
        records: whether the first batch of each shape costs more than those after it (alfa/cuda_graphs.py).
    """

    def __init__(self, model: ClipModel, settings: ModelSettings) -> None:
        from alfa.towers import tower_of

        if settings.threads:
            torch.set_num_threads(settings.threads)
        self.device = device_named(settings.device)
        self.dtype = dtype_for(settings.precision, self.device, model.half)
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
        self._depth = len(self._tower.blocks)
        self.patch_blocks = (*middle_blocks(self._depth), self._depth)
        self._patch_head = None if model.patch_head is None else model.patch_head.to(self.device)
        self._value_blocks = self._blocks_of_values()
        self._require_patches_for(settings.local)
        self.scales = settings.scales if uses_windows(settings.local, self.has_joint_patches) else ()
        self.layouts(self.grid)  # refuses a scale that does not fit, before any image comes
        self.context_length: int = model.tokenizer.context_length
        self._tokens_at_once = settings.tokens_at_once or _TOKENS_AT_ONCE[self.device.type]
        frontend = Frontend(
            grid=self.grid,
            patch_size=self.patch_size,
            fewest=max(self.scales, default=1),
            keep_aspect=settings.keep_aspect,
            mean=model.mean,
            std=model.std,
        )
        self.preprocessor = Preprocessor(frontend, self.device, self.dtype)
        self.records = self.device.type == "cuda" and settings.cuda_graphs
        self._passes: Callable[[Tensor], ImageFeatures] = self._encode_pixels
        if self.records:
            self._passes = RecordedPasses(self._encode_pixels, self._constants)
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

        device_named(settings.device)
        return cls(open_model(settings), settings)

    @classmethod
    def load_directory(cls, directory: Path, settings: ModelSettings) -> Backbone:
        """Load a model of the embedded kind (config, image tower, text tower) from a directory.

        Raises:
            BadInput: a file is missing, cut short or does not fit the config.
        """
        from alfa.model_directory import open_directory

        device_named(settings.device)
        return cls(open_directory(directory), settings)

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """All embeddings of a batch of images of one size.

        Args:
            pixels: (B, 3, h, w), as the preprocessor gives them; h and w are multiples of the patch size.
        """
        return self._passes(pixels)

    def _encode_pixels(self, pixels: Tensor) -> ImageFeatures:
        grid = self._grid_of(pixels)
        tokens = self._tower.embed(pixels)
        rows, packing = tokens.flatten(0, 1), (Run(*tokens.shape[:2]),)
        # Norm and projection of the first block see a token alone: the windows share them with their image.
        projected = self._tower.blocks[0].project(rows)
        (traced,) = trace(self._tower, rows, packing, projected, self._value_blocks).unpacked(packing)
        levels = self._patch_levels(traced)
        layouts = self.layouts(grid)
        windows = self._encode_windows(rows, projected, layouts, len(tokens))
        return ImageFeatures(
            grid=grid,
            image=self._embedding(traced),
            windows=tuple(level.embeddings for level in windows),
            patches=levels[-1],
            patch_joint=None if self._patch_head is None else self._joint_patches(levels),
            values=self._value_vectors(traced.values, windows) if traced.values else None,
            middle=tuple(levels[:-1]),
            layouts=layouts,
        )

    def _grid_of(self, pixels: Tensor) -> Grid:
        return Grid(pixels.shape[2] // self.patch_size, pixels.shape[3] // self.patch_size)

    def _constants(self, pixels: Tensor) -> object:
        """What encoding these pixels reads besides them and the weights, all of it cached."""
        grid = self._grid_of(pixels)
        return self._tower.positions(grid), self._window_batches(self.layouts(grid), len(pixels))

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

    def layouts(self, grid: Grid) -> tuple[WindowLayout, ...]:
        """The windows of each scale on a patch grid."""
        return tuple(
            window_layout(grid, scale, self.settings.step(scale), self.device) for scale in self.scales
        )

    def _encode_windows(
        self, rows: Tensor, projected: Tensor, layouts: tuple[WindowLayout, ...], images: int
    ) -> list[_WindowLevel]:
        """All windows, scale by scale, from (B * T, c) embedded tokens and their first projection."""
        parts: list[list[_WindowLevel]] = [[] for _ in layouts]
        for batch in self._window_batches(layouts, images):
            encoded = self._encode_batch(rows[batch.source], projected[batch.source], batch)
            for level, part in zip(batch.levels, encoded, strict=True):
                parts[level].append(part)
        return [_joined(level, images) for level in parts]

    def _window_batches(self, layouts: tuple[WindowLayout, ...], images: int) -> tuple[WindowBatch, ...]:
        return window_batches(layouts, self._tower.prefix, images, self._tokens_at_once)

    def _encode_batch(self, rows: Tensor, projected: Tensor, batch: WindowBatch) -> list[_WindowLevel]:
        """Packed rows of n windows -> per run, embeddings, and values and agreement where needed."""
        if self._patch_head is not None or self._value_blocks:
            traced = trace(self._tower, rows, batch.packing, projected, self._value_blocks)
            return [self._window_level(of_run) for of_run in traced.unpacked(batch.packing)]
        # Nothing on the way is asked for, and of the last block mostly the class token alone.
        read = batch.first if self._tower.pools_first else None
        hidden = read_out(self._tower, rows, batch.packing, projected, read)
        packing = batch.packing if read is None else [Run(run.sequences, 1) for run in batch.packing]
        pooled = [_unit(self._tower.pool(of_run)) for of_run in unpacked(hidden, packing)]
        return [_WindowLevel(each, each[:, :0], each[:, :0]) for each in pooled]

    def _window_level(self, traced: Traced) -> _WindowLevel:
        embeddings = self._embedding(traced)
        if not traced.values:
            return _WindowLevel(embeddings, embeddings[:, :0], embeddings[:, :0])
        own = self._joint_values(traced.values)
        return _WindowLevel(embeddings, own[:, 0], torch.einsum("ntd,nd->nt", own, embeddings))

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
        return (self._depth,) if self._patch_head is None else tuple(sorted(self._patch_head.blocks))

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


def _joined(parts: Sequence[_WindowLevel], images: int) -> _WindowLevel:
    """The windows of one scale, from all passes: (B * N, ...) -> (B, N, ...)."""
    windows = sum(len(part.embeddings) for part in parts) // images
    joined = (torch.cat(of_kind) for of_kind in zip(*parts, strict=True))
    return _WindowLevel(*(each.view(images, windows, *each.shape[1:]) for each in joined))


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
