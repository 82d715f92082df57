"""Known defects, each painted on a part's luminance together with the mask of where it is.

A painter takes the canvas and a random generator and changes the canvas in place; it returns nothing, so
that pixels and mask cannot come from two places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt

from edge.camera.rendering.plate import Plane, Plate, slope_shading


class Defect(StrEnum):
    """What can be wrong with a synthetic part."""

    NONE = "none"
    SCRATCH = "scratch"
    DENT = "dent"
    STAIN = "stain"
    MISSING_HOLE = "missing_hole"
    BROKEN_EDGE = "broken_edge"


@dataclass(slots=True)
class Canvas:
    """A part while it is made: what painters may change."""

    plate: Plate
    marks: Plane  # (H, W) this part's own brush marks, as added to its luminance
    luminance: Plane  # (H, W) 0..255
    rust: Plane | None  # (H, W) 0..1 brown cover; None where there is none
    mask: npt.NDArray[np.uint8]  # (H, W) 255 where the part is defective


Painter = Callable[[Canvas, np.random.Generator], None]


def paint(canvas: Canvas, defect: Defect, rng: np.random.Generator) -> None:
    """Put this defect on the part, somewhere and somehow."""
    _PAINTERS[defect](canvas, rng)


def _nothing(canvas: Canvas, rng: np.random.Generator) -> None:
    return


def _scratch(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bent gouge across the brush marks: bright burr beside a dark groove."""
    unit = canvas.plate.unit
    x, y = _place_on_steel(canvas, rng, margin=24 * unit)
    angle = rng.uniform(0.25, np.pi - 0.25)
    length = rng.uniform(90, 190) * unit
    along = np.linspace(-0.5, 0.5, 24)
    bend = rng.uniform(-0.16, 0.16) * (along**2 - 0.08)
    points_x = x + length * (np.cos(angle) * along - np.sin(angle) * bend)
    points_y = y + length * (np.sin(angle) * along + np.cos(angle) * bend)
    width = rng.uniform(3.0, 5.0) * unit

    groove = _stroke(canvas, points_x, points_y, width)
    burr = _stroke(canvas, points_x - 0.8 * width, points_y - 0.8 * width, 0.7 * width)
    steel = canvas.plate.material
    canvas.luminance -= 88.0 * groove * steel
    canvas.luminance += 70.0 * burr * steel
    canvas.mask[(_stroke(canvas, points_x, points_y, 2.6 * width) * steel) > 0.5] = 255


def _dent(canvas: Canvas, rng: np.random.Generator) -> None:
    """A blow with a round tool: shaded like a hollow, dulled at the bottom."""
    unit = canvas.plate.unit
    radius = rng.uniform(15, 25) * unit
    x, y = _place_on_steel(canvas, rng, margin=0.8 * radius)
    stretch = rng.uniform(0.75, 1.3)
    rows, columns = _window(canvas, x, y, 3.0 * radius)
    dx = (np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - x) / (radius * stretch)
    dy = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - y) / (radius / stretch)
    distance = dx**2 + dy**2

    hollow = (-1.25 * radius * np.exp(-(distance**1.4))).astype(np.float32)
    steel = canvas.plate.material[rows, columns]
    shading = 105.0 * slope_shading(hollow) - 34.0 * np.exp(-(distance**1.4))
    canvas.luminance[rows, columns] += shading * steel
    canvas.mask[rows, columns][(distance < 1.35) & (steel > 0.5)] = 255


def _stain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Rust or burnt oil: a brown cover with a ragged rim."""
    unit = canvas.plate.unit
    radius = rng.uniform(24, 42) * unit
    x, y = _place_on_steel(canvas, rng, margin=0.6 * radius)
    rows, columns = _window(canvas, x, y, 2.2 * radius)
    dx = (np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - x) / radius
    dy = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - y) / radius
    noise = rng.normal(0, 1, (rows.stop - rows.start, columns.stop - columns.start)).astype(np.float32)
    ragged = cv2.GaussianBlur(noise, (0, 0), max(7 * unit, 0.6))
    mottled = cv2.GaussianBlur(noise, (0, 0), max(2 * unit, 0.5))
    field = 1.0 - np.hypot(dx, dy) + 0.28 * ragged / ragged.std()
    cover = np.clip(3.2 * field, 0.0, 1.0) * np.clip(0.78 + 0.14 * mottled / mottled.std(), 0.35, 1.0)

    cover = (cover * canvas.plate.material[rows, columns]).astype(np.float32)
    canvas.rust = np.zeros_like(canvas.luminance)
    canvas.rust[rows, columns] = cover
    canvas.luminance[rows, columns] *= 1.0 - 0.42 * cover
    canvas.mask[rows, columns][cover > 0.25] = 255


def _missing_hole(canvas: Canvas, rng: np.random.Generator) -> None:
    """One of the corner holes was never punched."""
    plate = canvas.plate
    hole = plate.holes[rng.integers(len(plate.holes))]
    rows, columns = _window(canvas, hole.x, hole.y, 1.5 * hole.radius)
    unpunched, complete = plate.unpunched[rows, columns], plate.complete[rows, columns]
    bare = 1.0 - plate.material[rows, columns]
    canvas.luminance[rows, columns] += unpunched - complete + canvas.marks[rows, columns] * bare
    disc = np.zeros_like(canvas.mask)
    cv2.circle(disc, (round(hole.x), round(hole.y)), round(hole.radius), 255, cv2.FILLED)
    canvas.mask |= disc


def _broken_edge(canvas: Canvas, rng: np.random.Generator) -> None:
    """A piece broken out of the rim, with a bright fracture around it."""
    plate, unit = canvas.plate, canvas.plate.unit
    x, y = _place_on_rim(canvas, rng)
    angles = (np.arange(13) + rng.uniform(-0.4, 0.4, 13)) * 2 * np.pi / 13
    radii = rng.uniform(24, 46) * unit * rng.uniform(0.65, 1.15, 13)
    corners = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    bite = np.zeros_like(canvas.mask)
    cv2.fillPoly(bite, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    gone = bite.astype(np.float32) / 255
    fracture = cv2.GaussianBlur(gone, (0, 0), max(2.2 * unit, 0.5)) * (1.0 - gone) * plate.material

    canvas.luminance += 120.0 * fracture
    canvas.luminance += (plate.belt - canvas.luminance) * gone
    canvas.mask[(gone * plate.material) > 0.5] = 255


_PAINTERS: dict[Defect, Painter] = {
    Defect.NONE: _nothing,
    Defect.SCRATCH: _scratch,
    Defect.DENT: _dent,
    Defect.STAIN: _stain,
    Defect.MISSING_HOLE: _missing_hole,
    Defect.BROKEN_EDGE: _broken_edge,
}


def _place_on_steel(canvas: Canvas, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """A point at least `margin` pixels from every edge of the steel, or the farthest there is."""
    depth = canvas.plate.depth
    candidates = np.stack([rng.integers(0, depth.shape[0], 256), rng.integers(0, depth.shape[1], 256)])
    depths = depth[candidates[0], candidates[1]]
    fitting = np.flatnonzero(depths >= margin)
    chosen = fitting[0] if fitting.size else int(np.argmax(depths))
    return float(candidates[1, chosen]), float(candidates[0, chosen])


def _place_on_rim(canvas: Canvas, rng: np.random.Generator) -> tuple[float, float]:
    """A point on the plate's outer edge, away from its corners."""
    height, width = canvas.plate.size
    across, along = 0.45 * rng.choice([-1.0, 1.0]), rng.uniform(-0.3, 0.3)
    if rng.random() < 0.5:
        return width * (0.5 + along), height * (0.5 + across)
    return width * (0.5 + across), height * (0.5 + along)


def _stroke(canvas: Canvas, xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64], width: float) -> Plane:
    """A soft line through the points, 0..1."""
    drawn = np.zeros_like(canvas.mask)
    points = np.rint(np.stack([xs, ys], axis=1) * 16).astype(np.int32)
    cv2.polylines(drawn, [points], False, 255, max(1, round(width)), cv2.LINE_AA, shift=4)
    return drawn.astype(np.float32) / 255


def _window(canvas: Canvas, x: float, y: float, reach: float) -> tuple[slice, slice]:
    """The part of the image within `reach` of a point, as row and column slices."""
    height, width = canvas.plate.size
    rows = slice(max(0, int(y - reach)), min(height, int(y + reach) + 1))
    columns = slice(max(0, int(x - reach)), min(width, int(x + reach) + 1))
    return rows, columns
