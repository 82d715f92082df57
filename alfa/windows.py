"""Multi-scale windows over the patch grid: which patches a window holds, and how window scores become maps.

Everything is a matrix product with the 0/1 coverage matrix, so that an image costs two small products a
scale and no Python loop over windows (Sec. 4.3; the harmonic averaging is WinCLIP's, the paper's [19]).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from alfa.errors import BadInput

# Scores of exactly 0 have no reciprocal. 1e-30 keeps the sum of reciprocals inside float32 and lies below
# every score that a temperature in use can give.
_SMALLEST_SCORE = 1e-30
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Grid:
    """The patch grid of a tower: `rows` x `cols` patches, counted row by row."""

    rows: int
    cols: int

    @property
    def patches(self) -> int:
        """P, the number of patches."""
        return self.rows * self.cols


@dataclass(frozen=True, slots=True, eq=False)
class WindowLayout:
    """All windows of one scale on one grid.

    Attributes:
        grid: the patch grid.
        scale: s, a window's side in patches.
        step: patches between windows that follow each other: 1 overlaps most, s stand side by side.
        indices: (N, s*s) int64, a window's patches in the row-major grid; windows are row-major too.
        coverage: C, (P, N) float32, 1 where the patch lies in the window.
    """

    grid: Grid
    scale: int
    step: int
    indices: Tensor
    coverage: Tensor

    @property
    def windows(self) -> int:
        """N; with step 1 it is (rows - s + 1) * (cols - s + 1)."""
        return self.indices.shape[0]


@lru_cache(maxsize=64)
def window_layout(grid: Grid, scale: int, step: int = 1, device: torch.device = _CPU) -> WindowLayout:
    """The windows of `scale` x `scale` patches; cached, so never write into its tensors.

    Scale 1 gives the patches themselves: identity coverage.

    Args:
        grid: the patch grid.
        scale: s, a window's side.
        step: from one window to the next, at most s. Where it does not come out even, the last row and column
            of windows end with the grid, so that every patch is covered.
        device: of the tensors.

    Raises:
        BadInput: no window of that scale fits into the grid.
    """
    if not 1 <= scale <= min(grid.rows, grid.cols):
        advice = f"a window must fit into the model's {grid.rows}x{grid.cols} patches; choose smaller scales"
        raise BadInput("model", "scales", scale, advice)
    # The first caller may be in inference mode; the cached tensors must still serve training code.
    with torch.inference_mode(mode=False):
        patches = torch.arange(grid.patches, device=device).view(grid.rows, grid.cols)
        windows = patches.unfold(0, scale, 1).unfold(1, scale, 1)
        tops, lefts = (_starts(count, step, device) for count in windows.shape[:2])
        indices = windows[tops][:, lefts].reshape(-1, scale * scale).contiguous()
        coverage = torch.zeros(grid.patches, indices.shape[0], device=device)
        coverage.scatter_(0, indices.T.contiguous(), 1.0)
    return WindowLayout(grid, scale, step, indices, coverage)


def _starts(count: int, step: int, device: torch.device) -> Tensor:
    """Every `step`-th of `count` places, and the last one."""
    places = [*range(0, count - 1, step), count - 1]
    return torch.tensor(places, device=device)


def harmonic_aggregate(scores: Tensor, layout: WindowLayout) -> Tensor:
    """Per patch, the harmonic mean of the scores of all windows that cover it: C.sum(1) / (C @ (1/s)).

    Args:
        scores: (B, N), not negative.
        layout: the windows that were scored.

    Returns:
        (B, P) float32.
    """
    reciprocal = scores.float().clamp_min(_SMALLEST_SCORE).reciprocal()
    coverage = layout.coverage.to(scores.device)
    return coverage.sum(dim=1) / (reciprocal @ coverage.T)


def harmonic_mean_levels(maps: Sequence[Tensor]) -> Tensor:
    """Harmonic mean over levels (scales) of their (B, P) maps; (B, P)."""
    stacked = torch.stack([level.float() for level in maps]).clamp_min(_SMALLEST_SCORE)
    return stacked.reciprocal().mean(dim=0).reciprocal()


def to_pixels(patch_map: Tensor, grid: Grid, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of a (B, P) patch map to (B, h, w), with patch centres kept in place."""
    planes = patch_map.reshape(-1, 1, grid.rows, grid.cols)
    return functional.interpolate(planes, size=size, mode="bilinear", align_corners=False).squeeze(1)
