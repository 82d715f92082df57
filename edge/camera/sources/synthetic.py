"""Rendered parts with known defects: the same pixels and the same truth for the same (seed, seq)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.camera.rendering.defects import Canvas, Defect, paint
from edge.camera.rendering.plate import Plane, Plate, cut, random_offset, render_plate
from edge.camera.sources.base import Captured, End, Shot, Trouble
from edge.settings import SyntheticSource

_KINDS = tuple(kind for kind in Defect if kind is not Defect.NONE)
_RUST_RGB = np.array((108.0, 62.0, 30.0), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticTruth:
    """What is known of a rendered part; `mask` (H, W) is true where it is defective."""

    defective: bool
    kind: Defect
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticPart:
    """A rendered part: `pixels` (H, W, 3) uint8 RGB, and the truth about it."""

    pixels: npt.NDArray[np.uint8]
    truth: SyntheticTruth


class SyntheticLine:
    """The image source over `render`: part `seq` of the line, one after the other, without end."""

    trouble: Trouble | None = None

    def __init__(self, settings: SyntheticSource) -> None:
        self._settings = settings
        self._seq = 0

    @property
    def rate_hz(self) -> float:
        """As set."""
        return self._settings.rate_hz

    def open(self) -> None:
        """Render the plate now, so that the first part isn't late."""
        render_plate(self._settings.width, self._settings.height, self._settings.seed)

    def read(self, timeout_s: float) -> Shot | End | None:
        """The next part; its part id is its sequence number."""
        part = render(self._settings, self._seq)
        captured = Captured(part.pixels, "rgb", str(self._seq))
        self._seq += 1
        return captured

    def close(self) -> None:
        """Nothing to let go of."""


def truth(settings: SyntheticSource, seq: int) -> SyntheticTruth:
    """What is known of part `seq`: from the same rendering as its pixels, so that they cannot differ."""
    return render(settings, seq).truth


def render(settings: SyntheticSource, seq: int) -> SyntheticPart:
    """Part `seq` of this line: a plate with its own brush marks, pose and light, perhaps with one defect."""
    rng = np.random.default_rng((settings.seed, seq))
    defect = _draw_defect(rng, settings.defect_rate)
    plate = render_plate(settings.width, settings.height, settings.seed)
    canvas = _good_part(plate, rng)
    # A generator of its own: a part and its good twin (defect_rate = 0) differ by the defect alone.
    paint(canvas, defect, np.random.default_rng((settings.seed, seq, 1)))
    return _photographed(canvas, defect, rng)


def _draw_defect(rng: np.random.Generator, rate: float) -> Defect:
    defective, kind = rng.random() < rate, rng.integers(len(_KINDS))
    return _KINDS[kind] if defective else Defect.NONE


def _good_part(plate: Plate, rng: np.random.Generator) -> Canvas:
    marks = cut(plate.texture, random_offset(rng), plate.size)
    luminance = plate.complete + marks * plate.material
    return Canvas(plate, marks, luminance, None, np.zeros(plate.size, np.uint8))


def _photographed(canvas: Canvas, defect: Defect, rng: np.random.Generator) -> SyntheticPart:
    """Light, colour, pose and sensor noise; the mask goes through the same pose."""
    height, width = canvas.plate.size
    lit = np.clip(canvas.luminance * _light(canvas.plate, rng), 0, 255).astype(np.uint8)
    coloured = _coloured(lit, canvas.rust)
    pose = _pose(canvas.plate, rng)
    placed = cv2.warpAffine(coloured, pose, (width, height), borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(canvas.mask, pose, (width, height), flags=cv2.INTER_NEAREST)
    grain = cut(canvas.plate.grain, random_offset(rng), canvas.plate.size)
    pixels = cv2.add(placed, grain, dtype=cv2.CV_8U)
    return SyntheticPart(pixels, SyntheticTruth(defect is not Defect.NONE, defect, mask > 0))


def _light(plate: Plate, rng: np.random.Generator) -> Plane:
    """The lamp ages and sways a little: level and a slope over the image."""
    height, width = plate.size
    level, slope_x, slope_y = rng.uniform(0.95, 1.05), *rng.uniform(-0.03, 0.03, 2)
    across = np.linspace(-slope_x, slope_x, width, dtype=np.float32)[None, :]
    down = np.linspace(level - slope_y, level + slope_y, height, dtype=np.float32)[:, None]
    return across + down


def _pose(plate: Plate, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The part lies a little off and askew: a 2 x 3 matrix."""
    height, width = plate.size
    angle = rng.uniform(-1.5, 1.5)
    pose: npt.NDArray[np.float64] = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    pose[:, 2] += rng.uniform(-5, 5, 2) * plate.unit
    return pose


def _coloured(luminance: npt.NDArray[np.uint8], rust: Plane | None) -> npt.NDArray[np.uint8]:
    coloured: npt.NDArray[np.uint8] = cv2.merge([cv2.LUT(luminance, table) for table in _TINT])
    if rust is None:
        return coloured
    return _rusted(coloured, luminance, rust)


def _rusted(
    coloured: npt.NDArray[np.uint8], luminance: npt.NDArray[np.uint8], rust: Plane
) -> npt.NDArray[np.uint8]:
    """Brown where rust covers the steel, keeping half of its light and shade."""
    brown = _RUST_RGB * (0.45 + luminance.astype(np.float32) / 200)[..., None]
    cover = 0.85 * rust[..., None]
    blended = coloured * (1.0 - cover) + brown * cover
    rusted: npt.NDArray[np.uint8] = np.clip(blended, 0, 255).astype(np.uint8)
    return rusted


def _tint_tables() -> tuple[npt.NDArray[np.uint8], ...]:
    """Red, green, blue of each luminance: the dark belt is greenish blue, bright steel faintly cool."""
    level = np.arange(256, dtype=np.float32)
    belt = np.clip((110.0 - level) / 110.0, 0.0, 1.0)
    factors = (0.985 - 0.22 * belt, 1.0 + 0.03 * belt, 1.015 + 0.10 * belt)
    return tuple(np.clip(level * factor, 0, 255).astype(np.uint8) for factor in factors)


_TINT = _tint_tables()
