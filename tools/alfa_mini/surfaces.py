"""Good surfaces and parts drawn from scratch: more materials than nine data sets show.

What is abnormal must not hang on the few parts that were photographed. Each family below is drawn anew for
every picture, in other colours, scales and light; defects are rendered on them as on photographs.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
# (side in pixels, generator) -> relief or brightness, any range
Pattern = Callable[[int, np.random.Generator], Plane]

SIDE = 320


def draw(family: str, rng: np.random.Generator) -> Image:
    """A picture without defect.

    Args:
        family: one of `FAMILIES`.
        rng: shapes, colours and light.

    Returns:
        (SIDE, SIDE, 3) RGB.
    """
    if family in _PATTERNS:
        return _photographed(_surface(_PATTERNS[family](SIDE, rng), rng), rng)
    outline = _OUTLINES[family](SIDE, rng)
    background = np.full((SIDE, SIDE, 3), rng.uniform(10, 245), np.float32)
    texture = _surface(_PATTERNS[str(rng.choice(_PLAIN))](SIDE, rng), rng)
    return _photographed(_lit_part(background, texture, outline, rng), rng)


def _noise(side: int, rng: np.random.Generator, grain: float) -> Plane:
    noise = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), grain)
    return noise / (noise.std() + 1e-6)  # type: ignore[no-any-return]


def _axes(side: int, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Coordinates turned by a random angle, slightly wavy."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    wave = _noise(side, rng, side / 8) * rng.uniform(0, 3)
    across = x * np.cos(angle) + y * np.sin(angle) + wave
    along = y * np.cos(angle) - x * np.sin(angle) + wave
    return across.astype(np.float32), along.astype(np.float32)


def _brushed(side: int, rng: np.random.Generator) -> Plane:
    """Metal with a grain in one direction."""
    noise = rng.normal(0, 1, (side, side)).astype(np.float32)
    length = int(rng.integers(15, 60)) | 1
    grain = cv2.blur(noise, (length, 1))
    if rng.random() < 0.5:
        grain = np.ascontiguousarray(grain.T)
    return grain / grain.std() + 0.5 * _noise(side, rng, side / 6)  # type: ignore[no-any-return]


def _cast(side: int, rng: np.random.Generator) -> Plane:
    """Mottled: fine grain over slow clouds."""
    return _noise(side, rng, rng.uniform(0.7, 2)) + rng.uniform(0.3, 1.5) * _noise(side, rng, side / 10)


def _granite(side: int, rng: np.random.Generator) -> Plane:
    """Grains of a few tones."""
    grains = _noise(side, rng, rng.uniform(1.5, 4))
    return np.digitize(grains, np.sort(rng.normal(0, 1, 4))).astype(np.float32) + 0.3 * _noise(side, rng, 0.8)


def _weave(side: int, rng: np.random.Generator) -> Plane:
    """Warp and weft."""
    across, along = _axes(side, rng)
    pitch = rng.uniform(5, 16)
    over = np.sign(np.sin(np.pi * across / pitch) * np.sin(np.pi * along / pitch))
    thread = np.where(over > 0, np.abs(np.sin(np.pi * across / pitch)), np.abs(np.sin(np.pi * along / pitch)))
    return thread.astype(np.float32) * 2 + 0.4 * _noise(side, rng, 0.9)  # type: ignore[no-any-return]


def _grooves(side: int, rng: np.random.Generator) -> Plane:
    """Parallel lines, as turned, milled or ribbed."""
    across, _ = _axes(side, rng)
    ridge = np.sin(2 * np.pi * across / rng.uniform(6, 30))
    return ridge * rng.uniform(0.5, 2) + 0.5 * _noise(side, rng, 1.2)  # type: ignore[no-any-return]


def _mesh(side: int, rng: np.random.Generator) -> Plane:
    """Wires with holes between them."""
    across, along = _axes(side, rng)
    pitch, wire = rng.uniform(12, 34), rng.uniform(0.15, 0.4)
    wires = ((across / pitch) % 1 < wire) | ((along / pitch) % 1 < wire)
    return 3 * cv2.GaussianBlur(wires.astype(np.float32), (0, 0), 1.2) + 0.2 * _noise(side, rng, 1.0)  # type: ignore[no-any-return]


def _wood(side: int, rng: np.random.Generator) -> Plane:
    """Growth rings cut lengthwise, with pores."""
    across, along = _axes(side, rng)
    rings = across + 14 * cv2.GaussianBlur(_noise(side, rng, side / 12), (0, 0), 5)
    pores = np.sin(along / 40 + 3 * _noise(side, rng, 3)) > 0.97
    return np.sin(rings / rng.uniform(2, 8)) + 0.5 * _noise(side, rng, 1.0) - pores  # type: ignore[no-any-return]


def _leather(side: int, rng: np.random.Generator) -> Plane:
    """Cells with creases between them."""
    seeds = np.zeros((side, side), np.uint8)
    count = int(rng.integers(300, 1500))
    seeds[rng.integers(0, side, count), rng.integers(0, side, count)] = 1
    distance = cv2.distanceTransform(1 - seeds, cv2.DIST_L2, 5)
    return -distance / distance.std() + 0.3 * _noise(side, rng, 1.0)  # type: ignore[no-any-return]


def _tiles(side: int, rng: np.random.Generator) -> Plane:
    """A regular pattern of blocks and joints."""
    across, along = _axes(side, rng)
    pitch = rng.uniform(30, 80)
    row = np.floor(along / pitch)
    joint = ((across / pitch + 0.5 * (row % 2)) % 1 < 0.08) | ((along / pitch) % 1 < 0.08)
    return 2 - 3 * joint.astype(np.float32) + 0.4 * _noise(side, rng, 1.5)  # type: ignore[no-any-return]


def _smooth(side: int, rng: np.random.Generator) -> Plane:
    """Paint, glass or plastic: hardly anything to see."""
    return 0.3 * _noise(side, rng, 0.8) + _noise(side, rng, side / 4)


def _printed(side: int, rng: np.random.Generator) -> Plane:
    """Straight tracks and round pads on a plain ground."""
    canvas = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(10, 30))):
        at, width = int(rng.integers(side)), int(rng.integers(2, 9))
        start, length = int(rng.integers(side)), int(rng.integers(side // 4, side))
        if rng.random() < 0.5:
            cv2.line(canvas, (at, start), (at, start + length), 1.0, width)
        else:
            cv2.line(canvas, (start, at), (start + length, at), 1.0, width)
        cv2.circle(canvas, (at, start), int(rng.integers(4, 12)), 1.0, -1)
    return 3 * canvas + 0.2 * _noise(side, rng, 1.0)


_PATTERNS: dict[str, Pattern] = {
    "brushed": _brushed,
    "cast": _cast,
    "granite": _granite,
    "weave": _weave,
    "grooves": _grooves,
    "mesh": _mesh,
    "wood": _wood,
    "leather": _leather,
    "tiles": _tiles,
    "smooth": _smooth,
    "printed": _printed,
}
# What a part may be made of.
_PLAIN = ("brushed", "cast", "smooth", "granite", "wood")


def _disc(side: int, rng: np.random.Generator) -> Plane:
    """Round, with or without a hole and a rim."""
    canvas = np.zeros((side, side), np.float32)
    radius = rng.uniform(0.25, 0.45) * side
    centre = (int(side / 2 + rng.normal(0, 8)), int(side / 2 + rng.normal(0, 8)))
    cv2.circle(canvas, centre, int(radius), 1.0, -1, cv2.LINE_AA)
    if rng.random() < 0.6:
        cv2.circle(canvas, centre, int(radius * rng.uniform(0.2, 0.7)), 0.0, -1, cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.circle(canvas, centre, int(radius * 0.85), 0.6, 3, cv2.LINE_AA)
    return canvas


def _plate(side: int, rng: np.random.Generator) -> Plane:
    """A rectangle with holes in a row."""
    canvas = np.zeros((side, side), np.float32)
    box = (
        (side / 2 + rng.normal(0, 6), side / 2 + rng.normal(0, 6)),
        (rng.uniform(0.4, 0.85) * side, rng.uniform(0.3, 0.8) * side),
        rng.uniform(-20, 20),
    )
    corners = cv2.boxPoints(box)
    cv2.fillPoly(canvas, [corners.astype(np.int32)], 1.0, cv2.LINE_AA)
    middle = corners.mean(axis=0)
    for corner in corners:
        hole = middle + (corner - middle) * 0.65
        cv2.circle(canvas, (int(hole[0]), int(hole[1])), int(rng.uniform(5, 14)), 0.0, -1, cv2.LINE_AA)
    return canvas


def _star(side: int, rng: np.random.Generator) -> Plane:
    """A gear, nut or flower of a few teeth."""
    teeth = int(rng.integers(5, 18))
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    outline = 1 + rng.uniform(0.04, 0.2) * np.tanh(4 * np.sin(teeth * angles + rng.uniform(0, 6)))
    radius = rng.uniform(0.25, 0.4) * side * outline
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + side / 2
    canvas = np.zeros((side, side), np.float32)
    cv2.fillPoly(canvas, [points.astype(np.int32)], 1.0, cv2.LINE_AA)
    cv2.circle(canvas, (side // 2, side // 2), int(rng.uniform(0.05, 0.18) * side), 0.0, -1, cv2.LINE_AA)
    return canvas


def _pieces(side: int, rng: np.random.Generator) -> Plane:
    """Several small round parts side by side."""
    canvas = np.zeros((side, side), np.float32)
    count = int(rng.integers(2, 5))
    pitch = side / count
    for row in range(count):
        for column in range(count):
            centre = (int((column + 0.5) * pitch), int((row + 0.5) * pitch))
            cv2.ellipse(
                canvas, centre, (int(0.36 * pitch), int(0.28 * pitch)), 0, 0, 360, 1.0, -1, cv2.LINE_AA
            )
    return canvas


_OUTLINES: dict[str, Pattern] = {"disc": _disc, "plate": _plate, "star": _star, "pieces": _pieces}
FAMILIES = (*_PATTERNS, *_OUTLINES)


def _surface(relief: Plane, rng: np.random.Generator) -> Plane:
    """(side, side, 3) of a base colour, lighter and darker with the relief."""
    base = rng.uniform(40, 215) + rng.normal(0, 25 * (rng.random() < 0.7), 3)
    contrast = rng.uniform(6, 38)
    relief = (relief - relief.mean()) / (relief.std() + 1e-6)
    return (base + contrast * relief[..., None] * rng.uniform(0.8, 1.2, 3)).astype(np.float32)


def _lit_part(background: Plane, texture: Plane, outline: Plane, rng: np.random.Generator) -> Plane:
    """The part on its background, with edges that catch the light, and a shadow."""
    smooth = cv2.GaussianBlur(outline, (0, 0), rng.uniform(2, 6))
    angle = rng.uniform(0, 2 * np.pi)
    slope = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) * np.cos(angle) + cv2.Sobel(
        smooth, cv2.CV_32F, 0, 1
    ) * np.sin(angle)
    shaded = texture + (slope / (np.abs(slope).max() + 1e-6) * rng.uniform(15, 60))[..., None]
    shift = int(rng.integers(2, 8))
    shadow = np.roll(smooth, (shift, shift), axis=(0, 1)) * rng.uniform(0, 40)
    ground = background - shadow[..., None] + rng.normal(0, 2, background.shape)
    return (ground * (1 - outline[..., None]) + shaded * outline[..., None]).astype(np.float32)  # type: ignore[no-any-return]


def _photographed(scene: Plane, rng: np.random.Generator) -> Image:
    """Uneven light, a little blur, sensor noise."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
    light = (
        1 + rng.uniform(-0.2, 0.2) * x + rng.uniform(-0.2, 0.2) * y - rng.uniform(0, 0.2) * (x * x + y * y)
    )
    blurred = cv2.GaussianBlur(scene * light[..., None], (0, 0), rng.uniform(0.3, 1.0))
    return (blurred + rng.normal(0, rng.uniform(1, 4), blurred.shape)).clip(0, 255).astype(np.uint8)  # type: ignore[no-any-return]
