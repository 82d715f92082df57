"""Captured images to what the tower reads: resized to a patch grid of their own shape, and normalised.

A captured image is large and what the tower reads is small, so it is read once, by the resize, and never
copied: channels are put in order where the image is small, and the normalising is left to the device.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alfa.files import content_hash
from alfa.images import Colour, RgbImage, require_layout, to_rgb
from alfa.shrinking import shrunk
from alfa.windows import Grid

# Part of the hash: a bank made with another way of resizing must not fit.
_RESIZE = "area when shrinking, halved first while six times too large, else cubic"
# A part longer than this many times its width is squashed after all: fewer rows of patches show nothing.
_FEWEST_ROWS = 4
# One is filled while another is still on its way to the GPU.
_STAGING_BUFFERS = 2


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
    """Resizes and normalises.

    `fit` may be called from any thread, also while another is in `batches`; `batches` and `prepare` reuse
    their staging buffers and are for one thread at a time.

    Attributes:
        hash: 16 hex digits naming size, resizing and normalisation.
    """

    def __init__(self, frontend: Frontend, device: torch.device, dtype: torch.dtype) -> None:
        self._frontend = frontend
        self._device = device
        self._dtype = dtype
        self._gain, self._shift = _normalisation(frontend.mean, frontend.std, device)
        self._staging = deque(_Staging(device) for _ in range(_STAGING_BUFFERS))
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

    def prepare(self, images: Sequence[RgbImage]) -> list[PixelBatch]:
        """`fit` and `batches` of RGB images (H, W, 3) of any sizes.

        Raises:
            BadInput: another shape or type.
        """
        return self.batches([self.fit(image) for image in images])

    def fit(self, image: NDArray[np.uint8], colour: Colour = "rgb") -> RgbImage:
        """The image at the size of its patch grid, (h, w, 3) RGB.

        Channels are resized each for itself, so it is the same whether they are put in order before or after;
        it is done where the image is the smaller one.

        Args:
            image: (H, W, 3) for "rgb" and "bgr", (H, W) or (H, W, 1) for "grey"; may be read-only.
            colour: its channel order.

        Raises:
            BadInput: the shape or the type is another.
        """
        require_layout(image, colour)
        grid, patch = self.grid_for(*image.shape[:2]), self._frontend.patch_size
        size = (grid.cols * patch, grid.rows * patch)
        if image.shape[0] * image.shape[1] > size[0] * size[1]:
            return to_rgb(shrunk(image, *size), colour)
        return cv2.resize(to_rgb(image, colour), size, interpolation=cv2.INTER_CUBIC)  # type: ignore[no-any-return]

    def batches(self, fitted: Sequence[RgbImage]) -> list[PixelBatch]:
        """Normalise on the device; images of the same size go into the same batch.

        Args:
            fitted: as `fit` gives them.
        """
        groups: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for position, image in enumerate(fitted):
            groups[image.shape].append(position)
        return [
            PixelBatch(tuple(positions), self._normalised([fitted[each] for each in positions]))
            for positions in groups.values()
        ]

    def _normalised(self, fitted: Sequence[RgbImage]) -> Tensor:
        """(n, 3, h, w) of images of one size."""
        self._staging.rotate()
        pixels = self._staging[0].upload(fitted).permute(0, 3, 1, 2).to(torch.float32)
        return torch.addcmul(self._shift, pixels, self._gain).to(self._dtype)


class _Staging:
    """A buffer in which images are put side by side, so that they reach the device as one copy.

    For a GPU it is page-locked and the copy is not waited for; it is filled again when the GPU has it. On the
    CPU it is what the normalising reads, and free when that has returned.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._fetched = torch.cuda.Event() if self._on_gpu else None  # type: ignore[no-untyped-call]

    def upload(self, fitted: Sequence[RgbImage]) -> Tensor:
        """(n, h, w, 3) uint8 on the device."""
        if self._fetched is not None:
            self._fetched.synchronize()
        staged = self._room_for(len(fitted), *fitted[0].shape)
        np.stack(fitted, out=staged.numpy())
        on_device = staged.to(self._device, non_blocking=self._on_gpu)
        if self._fetched is not None:
            self._fetched.record(torch.cuda.current_stream(self._device))
        return on_device

    def _room_for(self, *shape: int) -> Tensor:
        needed = math.prod(shape)
        if self._buffer.numel() < needed:
            self._buffer = torch.empty(needed, dtype=torch.uint8, pin_memory=self._on_gpu)
        return self._buffer[:needed].view(shape)


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
