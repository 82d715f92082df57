"""Captured images to what the tower reads: resized to a patch grid of their own shape, and normalised."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alfa.files import content_hash
from alfa.windows import Grid

# Part of the hash: a bank made with another way of resizing must not fit.
_RESIZE = "area when shrinking, else cubic"
# A part longer than this many times its width is squashed after all: fewer rows of patches show nothing.
_FEWEST_ROWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class PixelBatch:
    """Preprocessed images of one size.

    Attributes:
        positions: of the n images in the list that was given to `Preprocessor.prepare`.
        pixels: (n, 3, h, w) on the device, in the tower's dtype.
    """

    positions: tuple[int, ...]
    pixels: Tensor


@dataclass(frozen=True, slots=True)
class Frontend:
    """What a model asks of its input.

    Attributes:
        grid: of an image of the model's own shape, in patches.
        patch_size: side of a patch in pixels.
        fewest: rows and columns of patches that the method needs, its largest window scale.
        keep_aspect: whether an image keeps its shape; else all are squashed to `grid`.
        mean: per channel, of pixels in [0, 1], R G B.
        std: standard deviation, likewise.
    """

    grid: Grid
    patch_size: int
    fewest: int
    keep_aspect: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Preprocessor:
    """Resizes and normalises. Not for several threads at once: `prepare` reuses its buffer.

    Attributes:
        hash: 16 hex digits naming size, resizing and normalisation.
    """

    def __init__(self, frontend: Frontend, device: torch.device, dtype: torch.dtype) -> None:
        self._frontend = frontend
        self._device = device
        self._dtype = dtype
        self._gain, self._shift = _normalisation(frontend.mean, frontend.std, device)
        self._staging = torch.empty(0, dtype=torch.uint8)
        self.hash = _hash(frontend)

    def grid_for(self, height: int, width: int) -> Grid:
        """The patch grid of an image: as many patches as the model's own, in the image's shape.

        A part that is 2.6 times as long as wide gets 2.6 times as many columns as rows; squashed into a
        square, its defects would be squashed as well.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.
        """
        whole = self._frontend.grid
        if not self._frontend.keep_aspect:
            return whole
        fewest = min(max(_FEWEST_ROWS, self._frontend.fewest), whole.rows, whole.cols)
        shorter, longer = sorted((height, width))
        across = max(fewest, round(math.sqrt(whole.patches * shorter / longer)))
        along = min(round(math.sqrt(whole.patches * longer / shorter)), whole.patches // fewest)
        return Grid(across, along) if height <= width else Grid(along, across)

    def prepare(self, images: Sequence[NDArray[np.uint8]]) -> list[PixelBatch]:
        """Resize and normalise; images that get the same grid go into the same batch.

        Args:
            images: RGB, uint8, (H, W, 3), of any sizes.
        """
        groups: defaultdict[Grid, list[int]] = defaultdict(list)
        for position, image in enumerate(images):
            groups[self.grid_for(*image.shape[:2])].append(position)
        return [
            PixelBatch(tuple(positions), self._pixels([images[each] for each in positions], grid))
            for grid, positions in groups.items()
        ]

    def _pixels(self, images: Sequence[NDArray[np.uint8]], grid: Grid) -> Tensor:
        """(n, 3, h, w) of images that share a grid."""
        patch = self._frontend.patch_size
        size = (grid.cols * patch, grid.rows * patch)
        staging = self._staging_for(len(images), size[1], size[0])
        # The one loop over images: every camera may have its own size.
        for image, target in zip(images, staging.numpy(), strict=True):
            shrinking = image.shape[0] * image.shape[1] > size[0] * size[1]
            cv2.resize(
                image, size, dst=target, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
            )
        pixels = staging.to(self._device).permute(0, 3, 1, 2).to(torch.float32)
        return torch.addcmul(self._shift, pixels, self._gain).to(self._dtype)

    def _staging_for(self, count: int, height: int, width: int) -> Tensor:
        """(count, height, width, 3) of the reused buffer, page-locked where a GPU fetches it."""
        needed = count * height * width * 3
        if self._staging.numel() < needed:
            pinned = self._device.type == "cuda"
            self._staging = torch.empty(needed, dtype=torch.uint8, pin_memory=pinned)
        return self._staging[:needed].view(count, height, width, 3)


def _normalisation(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """(x / 255 - mean) / std as x * gain + shift; both (1, 3, 1, 1)."""
    means, stds = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    return 1 / (255 * stds), -means / stds


def _hash(frontend: Frontend) -> str:
    grid, patch = frontend.grid, frontend.patch_size
    described = {
        "size": (grid.rows * patch, grid.cols * patch),
        "aspect": frontend.keep_aspect,
        "mean": frontend.mean,
        "std": frontend.std,
        "resize": _RESIZE,
    }
    return content_hash(json.dumps(described, sort_keys=True).encode())
