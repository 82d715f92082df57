"""The synthetic line's product: a brushed, stamped steel plate on a belt, rendered once and then reused.

Everything that is the same for all parts of one size is computed here, so that one part costs a few
passes over the image. Luminance is float32, 0..255; lengths scale with the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.floating[Any]]
_Scalar = TypeVar("_Scalar", bound=np.generic)

_BELT = 44.0
_STEEL = 158.0
_PAD = 64  # texture and grain are larger than the image by this, so that parts differ by where they are cut
_LIGHT = np.array((-0.6, -0.8), dtype=np.float32)  # from the upper left, as on most inspection stations


@dataclass(frozen=True, slots=True)
class Hole:
    """A punched hole in pixels of the image."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """The good part and what defects need to take it apart; all planes (H, W) but texture and grain."""

    complete: Plane  # the plate with everything in its place
    unpunched: Plane  # the same without its corner holes
    belt: Plane  # nothing but the belt
    material: Plane  # 0..1: how much of a pixel is steel
    depth: Plane  # distance in pixels to the nearest edge of the steel, negative outside
    holes: tuple[Hole, ...]
    unit: float  # pixels that are one pixel of a 640 x 480 image
    texture: Plane  # (H + pad, W + pad) brush marks
    grain: npt.NDArray[np.int16]  # (H + pad, W + pad, 3) sensor noise

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        height, width = self.complete.shape
        return height, width


@lru_cache(maxsize=4)
def render_plate(width: int, height: int, seed: int) -> Plate:
    """The plate at this image size; the seed changes brush marks, belt and grain, never the design."""
    rng = np.random.default_rng((seed, width, height))
    unit = min(width / 640, height / 480)
    x = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    holes = _corner_holes(width, height, unit)

    blank = _blank(x, y, width, height, unit)
    ring = np.abs(np.hypot(x, y) - 112 * unit)
    punched = np.maximum.reduce([blank, *(-_hole(x, y, width, height, hole) for hole in holes)])

    belt = _belt(rng, height, width, unit)
    shadowed = belt * (1.0 - 0.55 * _shadow(blank, unit))
    return Plate(
        complete=_lit(punched, ring, shadowed, unit),
        unpunched=_lit(blank, ring, shadowed, unit),
        belt=shadowed,
        material=_coverage(punched),
        depth=-punched,
        holes=holes,
        unit=unit,
        texture=_brush(rng, height + _PAD, width + _PAD, unit),
        grain=np.rint(rng.normal(0.0, 1.6, (height + _PAD, width + _PAD, 3))).astype(np.int16),
    )


def cut(field: npt.NDArray[_Scalar], offset: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[_Scalar]:
    """A window of `size` (height, width) out of a padded field, from `offset` (row, column)."""
    return field[offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]


def random_offset(rng: np.random.Generator) -> tuple[int, int]:
    """Where to cut a padded field."""
    row, column = rng.integers(0, _PAD + 1, 2)
    return int(row), int(column)


def slope_shading(height: Plane) -> Plane:
    """How much brighter a surface of this height (pixels) looks where it faces the light; about -1..1."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=0.125)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=0.125)
    facing = -(slope_x * _LIGHT[0] + slope_y * _LIGHT[1])
    shading: Plane = facing / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    return shading


def _corner_holes(width: int, height: int, unit: float) -> tuple[Hole, ...]:
    return tuple(
        Hole((width - 1) / 2 + sx * 0.36 * width, (height - 1) / 2 + sy * 0.325 * height, 25 * unit)
        for sy in (-1, 1)
        for sx in (-1, 1)
    )


def _blank(x: Plane, y: Plane, width: int, height: int, unit: float) -> Plane:
    """Signed distance to the plate before the corner holes: outline, bore and two slots."""
    outline = _rounded_box(x, y, 0.455 * width, 0.45 * height, 34 * unit)
    bore = np.hypot(x, y) - 76 * unit
    slots = [_rounded_box(x - side * 0.3 * width, y, 15 * unit, 52 * unit, 15 * unit) for side in (-1, 1)]
    blank: Plane = np.maximum.reduce([outline, -bore, *(-slot for slot in slots)])
    return blank


def _hole(x: Plane, y: Plane, width: int, height: int, hole: Hole) -> Plane:
    distance: Plane = np.hypot(x + (width - 1) / 2 - hole.x, y + (height - 1) / 2 - hole.y) - hole.radius
    return distance


def _rounded_box(x: Plane, y: Plane, half_width: float, half_height: float, radius: float) -> Plane:
    beyond_x = np.abs(x) - (half_width - radius)
    beyond_y = np.abs(y) - (half_height - radius)
    outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
    distance: Plane = outside + np.minimum(np.maximum(beyond_x, beyond_y), 0) - radius
    return distance


def _coverage(distance: Plane) -> Plane:
    """Anti-aliased inside of a signed distance."""
    inside: Plane = np.clip(0.5 - distance, 0.0, 1.0)
    return inside


def _lit(distance: Plane, ring: Plane, belt: Plane, unit: float) -> Plane:
    """The plate of this outline under the lamp, on the belt."""
    rows, columns = distance.shape
    edge = 5.0 * unit  # rolled-over edge of a stamped part
    height = edge * np.sqrt(np.clip(-distance / edge, 0.0, 1.0))
    height += 4.0 * unit * np.exp(-((ring / (9.0 * unit)) ** 2))  # embossed ring around the bore
    # Brushed steel spreads the lamp into a soft bright band across the marks.
    band = np.exp(-(((np.linspace(-1, 1, columns) + 0.25) / 0.75) ** 2)).astype(np.float32)[None, :]
    falloff = np.linspace(1.04, 0.94, rows, dtype=np.float32)[:, None]
    steel = (_STEEL - 18.0 + 34.0 * band) * falloff + 62.0 * slope_shading(height.astype(np.float32))
    covered = _coverage(distance)
    return (steel * covered + belt * (1.0 - covered)).astype(np.float32)


def _shadow(distance: Plane, unit: float) -> Plane:
    """What the plate keeps from the belt: its outline, shifted away from the lamp and blurred."""
    shift = np.array([[1, 0, 5 * unit], [0, 1, 7 * unit]], dtype=np.float32)
    rows, columns = distance.shape
    moved = cv2.warpAffine(_coverage(distance), shift, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
    shadow: Plane = cv2.GaussianBlur(moved, (0, 0), max(6 * unit, 0.5))
    return shadow


def _belt(rng: np.random.Generator, height: int, width: int, unit: float) -> Plane:
    weave = cv2.GaussianBlur(
        rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), max(1.4 * unit, 0.3)
    )
    belt: Plane = (_BELT + 5.0 * weave / weave.std()).astype(np.float32)
    return belt


def _brush(rng: np.random.Generator, height: int, width: int, unit: float) -> Plane:
    """Brush marks run along x: noise smeared far in x and hardly in y, plus slow unevenness."""
    noise = rng.normal(0, 1, (height, width)).astype(np.float32)
    fine = cv2.GaussianBlur(noise, (0, 0), sigmaX=max(26 * unit, 1.0), sigmaY=max(0.6 * unit, 0.3))
    coarse = cv2.GaussianBlur(noise, (0, 0), sigmaX=max(60 * unit, 1.0), sigmaY=max(2.5 * unit, 0.5))
    marks: Plane = (5.0 * fine / fine.std() + 2.5 * coarse / coarse.std()).astype(np.float32)
    return marks
