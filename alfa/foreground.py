"""Where the part is: a mask that keeps the memory bank's distances off the background.

The first principal component of the patch tokens of good parts separates a part from what it lies on (as in
AnomalyDINO). Here it is fitted once, when parts are taught, and used only where the parts themselves show
that it separates: their border must be nearly free of part and their middle nearly full of it, so that a
texture that fills the image is never masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from alfa.windows import Grid

# Of the taught parts' outermost patches at most this share may be part, of their middle at least that share.
_MOST_OF_BORDER = 0.1
_LEAST_OF_MIDDLE = 0.6
# Fewer rows or columns have no middle that is apart from the border.
_SMALLEST_SIDE = 4
_NAMES = ("foreground.axis", "foreground.origin", "foreground.usual")


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """A plane through patch-token space that has the part on one side and the background on the other.

    Attributes:
        axis: (c,), pointing from background to part.
        origin: (c,), a point on the plane.
        usual: (rows, cols) share of the taught parts that lie on each place.
    """

    axis: Tensor
    origin: Tensor
    usual: Tensor

    def mask(self, patches: Tensor, grid: Grid) -> Tensor:
        """Where a part is, or should be: a missing part must not be taken for background.

        Args:
            patches: (B, P, c), last block, unit.
            grid: of the P patches.

        Returns:
            (B, P) bool: patches of the part and their neighbours, and places where most taught parts lie.
        """
        part = _side(patches, self.axis, self.origin).float().view(-1, 1, grid.rows, grid.cols)
        near = functional.max_pool2d(part, kernel_size=3, stride=1, padding=1)
        usual = _on_grid(self.usual[None, None], grid) >= 0.5
        return ((near > 0) | usual).flatten(1)

    def to(self, device: torch.device) -> Foreground:
        """The same on `device`."""
        return replace(
            self, axis=self.axis.to(device), origin=self.origin.to(device), usual=self.usual.to(device)
        )

    def tensors(self) -> dict[str, Tensor]:
        """By the names under which a file keeps them."""
        return dict(zip(_NAMES, (self.axis, self.origin, self.usual), strict=True))

    @classmethod
    def take(cls, tensors: dict[str, Tensor]) -> Foreground | None:
        """Take its tensors out of a file's, where they all are there."""
        if not set(_NAMES) <= set(tensors):
            return None
        return cls(*(tensors.pop(name) for name in _NAMES))


def fit_foreground(patches: Sequence[Tensor], grids: Sequence[Grid], grid: Grid) -> Foreground | None:
    """Fit to good parts; None where they show no part in front of a background.

    Args:
        patches: batches of last-block patch tokens, (B_i, P_i, c), unit.
        grids: of each batch.
        grid: on which the usual place is kept.
    """
    if any(min(each.rows, each.cols) < _SMALLEST_SIDE for each in (*grids, grid)):
        return None
    rows = torch.cat([batch.flatten(0, 1) for batch in patches]).float()
    origin = rows.mean(dim=0)
    axis = _first_component(rows - origin)
    sides = [
        _side(batch, axis, origin).view(-1, 1, each.rows, each.cols)
        for batch, each in zip(patches, grids, strict=True)
    ]
    border, middle = _shares(sides)
    if middle < border:
        axis, sides = -axis, [~side for side in sides]
        border, middle = 1 - border, 1 - middle
    if border > _MOST_OF_BORDER or middle < _LEAST_OF_MIDDLE:
        return None
    usual = torch.cat([_on_grid(side.float(), grid) for side in sides]).mean(dim=(0, 1))
    return Foreground(axis, origin, usual)


def _first_component(centred: Tensor) -> Tensor:
    components: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors
    return components[:, -1].contiguous()


def _side(patches: Tensor, axis: Tensor, origin: Tensor) -> Tensor:
    side: Tensor = (patches.float() - origin) @ axis > 0
    return side


def _shares(sides: Sequence[Tensor]) -> tuple[float, float]:
    """Share of part in the outermost patches and in the inner half of each side, over all images."""
    border = torch.cat([side[..., _border_of(side)].flatten() for side in sides])
    middle = torch.cat([_middle_of(side).flatten() for side in sides])
    return float(border.float().mean()), float(middle.float().mean())


def _border_of(side: Tensor) -> Tensor:
    outermost = torch.ones(side.shape[-2:], dtype=torch.bool, device=side.device)
    outermost[1:-1, 1:-1] = False
    return outermost


def _middle_of(side: Tensor) -> Tensor:
    rows, cols = side.shape[-2] // 4, side.shape[-1] // 4
    return side[..., rows : side.shape[-2] - rows, cols : side.shape[-1] - cols]


def _on_grid(planes: Tensor, grid: Grid) -> Tensor:
    return functional.interpolate(planes, size=(grid.rows, grid.cols), mode="bilinear", align_corners=False)
