"""Defects rendered on photographs of good parts, each with its mask and its name.

They give what real sets rarely give: exact local labels, and a name for every kind of defect.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
# (picture as float 0..255, another picture of the same size, generator) -> (picture, mask 0..1)
Painter = Callable[[Plane, Plane, np.random.Generator], tuple[Plane, Plane]]

# Where a blend is fainter than this, nobody would call the place defective.
_VISIBLE = 0.25
_VISIBLE_STEP = 12.0  # of 255
_SMALLEST_AREA = 0.0008  # of the picture
_ATTEMPTS = 8


def render(image: Image, donor: Image, kind: str, rng: np.random.Generator) -> tuple[Image, Image]:
    """Put one defect of `kind` on a copy of the image.

    Args:
        image: (H, W, 3) RGB of a good part.
        donor: (H, W, 3) RGB of anything else, material for foreign bodies.
        kind: one of `KINDS`.
        rng: where, how large and how strong.

    Returns:
        The picture and its mask, (H, W), 1 where it is defective.
    """
    original, material = image.astype(np.float32), donor.astype(np.float32)
    for _ in range(_ATTEMPTS):
        painted, blend = _PAINTERS[kind](original, material, rng)
        painted = painted.clip(0, 255)
        mask = (blend > _VISIBLE) & _changed(original, painted)
        if mask.mean() >= _SMALLEST_AREA:
            break
    return painted.astype(np.uint8), mask.astype(np.uint8)


def _changed(before: Plane, after: Plane) -> NDArray[np.bool_]:
    """Where the picture differs visibly: a black crack on black is none."""
    differs = (np.abs(after - before).mean(axis=2) > _VISIBLE_STEP).astype(np.uint8)
    return cv2.dilate(differs, np.ones((5, 5), np.uint8)) > 0  # type: ignore[no-any-return]


def _scratch(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A nearly straight thin line with one dark and one bright side."""
    mask = _line(image, rng, wobble=0.04, width=rng.uniform(0.004, 0.018), length=rng.uniform(0.12, 0.5))
    strength = rng.uniform(50, 140) * rng.choice([-1, 1])
    shifted = np.roll(mask, 2, axis=(0, 1))
    return image + (mask - 0.5 * shifted)[..., None] * strength, mask


def _crack(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A dark jagged line with a branch."""
    width = rng.uniform(0.005, 0.02)
    mask = _line(image, rng, wobble=0.35, width=width, length=rng.uniform(0.15, 0.45))
    return image * (1 - mask[..., None] * rng.uniform(0.5, 0.95)), mask


def _thread(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A thin curved coloured fibre."""
    mask = _line(
        image, rng, wobble=0.12, width=rng.uniform(0.005, 0.012), length=rng.uniform(0.2, 0.6), bend=2.5
    )
    return _blend(image, _colour(rng), mask * rng.uniform(0.7, 1)), mask


def _stain(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A soft-edged coloured patch."""
    mask = _blob(image, rng, rng.uniform(0.03, 0.16), softness=rng.uniform(0.05, 0.3))
    return _blend(image, _colour(rng), mask * rng.uniform(0.4, 0.9)), mask


def _specks(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A group of small dirt particles."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.float32)
    centre = _place(image, rng)
    spread = rng.uniform(0.03, 0.12) * min(height, width)
    for _ in range(int(rng.integers(3, 16))):
        at = np.array(centre) + rng.normal(0, spread, 2)
        radius = max(2, int(rng.uniform(0.004, 0.02) * min(height, width)))
        cv2.circle(mask, (int(at[0]), int(at[1])), radius, 1.0, -1, cv2.LINE_AA)
    return _blend(image, _colour(rng, dark=True), mask * rng.uniform(0.6, 1)), mask


def _hole(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A dark pit with a lit rim."""
    mask = _blob(image, rng, rng.uniform(0.012, 0.07), softness=0.05)
    rim = np.clip(cv2.GaussianBlur(mask, (0, 0), 3) - mask, 0, 1)
    pit = image * (1 - mask[..., None] * rng.uniform(0.6, 0.95))
    return pit + rim[..., None] * rng.uniform(20, 90), mask


def _dent(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Shading as of a hollow: bright on one side, dark on the other."""
    mask = _blob(image, rng, rng.uniform(0.03, 0.11), softness=0.4)
    smooth = cv2.GaussianBlur(mask, (0, 0), max(2.0, 0.02 * image.shape[0]))
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)])
    angle = rng.uniform(0, 2 * np.pi)
    shading = slope[0] * np.cos(angle) + slope[1] * np.sin(angle)
    shading /= np.abs(shading).max() + 1e-6
    return image + shading[..., None] * rng.uniform(40, 110), mask


def _discolouration(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """The surface keeps its texture and changes its colour."""
    mask = _blob(image, rng, rng.uniform(0.05, 0.2), softness=rng.uniform(0.1, 0.4))
    gain = rng.uniform(0.45, 1.6, 3) if rng.random() < 0.6 else np.full(3, rng.choice([0.55, 0.7, 1.4, 1.6]))
    return _blend(image, image * gain.astype(np.float32), mask), mask


def _foreign(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A piece of something else lying on the part."""
    mask = _blob(image, rng, rng.uniform(0.025, 0.12), softness=0.04)
    shift = rng.integers(0, min(image.shape[:2]), 2)
    return _blend(image, np.roll(donor, tuple(shift), axis=(0, 1)), mask), mask


def _displaced(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A piece of the same picture in the wrong place."""
    mask = _blob(image, rng, rng.uniform(0.04, 0.13), softness=0.04)
    turned = np.rot90(image, int(rng.integers(1, 4)))
    turned = cv2.resize(turned, (image.shape[1], image.shape[0]))
    shift = rng.integers(min(image.shape[:2]) // 6, min(image.shape[:2]) // 2, 2)
    other = np.roll(turned, tuple(shift), axis=(0, 1))
    # A copy that looks like what it covers is no defect.
    differs = np.abs(other - image).mean(axis=2) > 18
    shown = mask * cv2.dilate(differs.astype(np.uint8), np.ones((9, 9), np.uint8))
    return _blend(image, other, shown), shown


def _missing(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A piece gone: the background, taken from the picture's border, shows through."""
    mask = _blob(image, rng, rng.uniform(0.04, 0.15), softness=0.03)
    border = np.concatenate([image[:6].reshape(-1, 3), image[-6:].reshape(-1, 3)])
    background = np.median(border, axis=0) + rng.normal(0, 4, image.shape).astype(np.float32)
    differs = np.abs(background - image).mean(axis=2) > 18
    shown = mask * cv2.dilate(differs.astype(np.uint8), np.ones((9, 9), np.uint8))
    return _blend(image, background.astype(np.float32), shown), shown


def _smear(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Texture wiped in one direction."""
    mask = _blob(image, rng, rng.uniform(0.05, 0.15), softness=0.2)
    size = max(9, int(0.06 * image.shape[0])) | 1
    kernel = np.zeros((size, size), np.float32)
    kernel[size // 2] = 1 / size
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 180), 1)
    wiped = cv2.filter2D(image, -1, cv2.warpAffine(kernel, turn, (size, size)))
    return _blend(image, wiped + rng.uniform(-35, 35), mask), mask


def _rough(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """A rough, worn or corroded patch: coarse noise."""
    mask = _blob(image, rng, rng.uniform(0.04, 0.15), softness=0.2)
    noise = rng.normal(0, 1, image.shape[:2]).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.8, 3))
    noise /= noise.std() + 1e-6
    tint = rng.uniform(0.4, 1, 3).astype(np.float32)
    return image + (mask * noise * rng.uniform(20, 50))[..., None] * tint, mask


def _bent(image: Plane, donor: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """The shape pulled out of true."""
    height, width = image.shape[:2]
    x, y = _place(image, rng)
    radius = rng.uniform(0.08, 0.2) * min(height, width)
    grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
    weight = np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / (2 * radius**2)).astype(np.float32)
    pull = rng.uniform(0.4, 0.9) * radius
    angle = rng.uniform(0, 2 * np.pi)
    warped = cv2.remap(
        image,
        grid_x + weight * np.float32(pull * np.cos(angle)),
        grid_y + weight * np.float32(pull * np.sin(angle)),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    moved = (np.abs(warped - image).mean(axis=2) > 20).astype(np.uint8)
    return warped, cv2.dilate(moved, np.ones((5, 5), np.uint8)).astype(np.float32) * (weight > 0.2)


_PAINTERS: dict[str, Painter] = {
    "scratch": _scratch,
    "crack": _crack,
    "thread": _thread,
    "stain": _stain,
    "specks": _specks,
    "hole": _hole,
    "dent": _dent,
    "discolouration": _discolouration,
    "foreign": _foreign,
    "displaced": _displaced,
    "missing": _missing,
    "smear": _smear,
    "rough": _rough,
    "bent": _bent,
}
KINDS = tuple(_PAINTERS)


def _place(image: Plane, rng: np.random.Generator) -> tuple[float, float]:
    """Mostly where there is something to see: pictures have flat backgrounds, defects are on the part."""
    height, width = image.shape[:2]
    small = cv2.resize(image.mean(axis=2), (32, 32), interpolation=cv2.INTER_AREA)
    border = np.median(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]))
    interest = cv2.GaussianBlur(np.abs(small - border), (0, 0), 1.5) + 4
    interest[:3], interest[-3:], interest[:, :3], interest[:, -3:] = 0, 0, 0, 0
    weights = interest.astype(np.float64).ravel()
    cell = int(rng.choice(weights.size, p=weights / weights.sum()))
    row, column = divmod(cell, 32)
    return (column + rng.random()) * width / 32, (row + rng.random()) * height / 32


def _line(
    image: Plane, rng: np.random.Generator, *, wobble: float, width: float, length: float, bend: float = 0.4
) -> Plane:
    """A polyline whose heading drifts (`bend`) and jitters (`wobble`); sizes are parts of the short side."""
    side = min(image.shape[:2])
    steps = 28
    heading = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(-bend, bend), steps)
    heading += rng.normal(0, wobble * 2, steps)
    step = length * side / steps
    path = np.stack([np.cos(heading), np.sin(heading)], axis=1).cumsum(axis=0) * step
    path += np.array(_place(image, rng)) - path[steps // 2]
    mask = np.zeros(image.shape[:2], np.float32)
    thickness = max(1, round(width * side))
    cv2.polylines(mask, [path.astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA)
    return mask


def _blob(image: Plane, rng: np.random.Generator, radius: float, *, softness: float) -> Plane:
    """An irregular patch; the radius is a part of the short side, the softness a part of the radius."""
    side = min(image.shape[:2])
    x, y = _place(image, rng)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outline = np.ones(40)
    for wave in range(2, 6):
        outline += rng.normal(0, 0.28 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    stretch = rng.uniform(0.45, 1)
    turn = rng.uniform(0, np.pi)
    points = np.stack([np.cos(angles), stretch * np.sin(angles)], axis=1) * outline[:, None] * radius * side
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = points @ rotation.T + np.array([x, y])
    mask = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1.0, cv2.LINE_AA)
    soft: Plane = cv2.GaussianBlur(mask, (0, 0), max(0.6, softness * radius * side))
    return soft


def _colour(rng: np.random.Generator, dark: bool = False) -> Plane:
    """Rust, ink, oil and the like: any hue, more often dark."""
    colour = rng.uniform(0, 255, 3)
    if dark or rng.random() < 0.5:
        colour *= rng.uniform(0.1, 0.5)
    return colour.astype(np.float32)


def _blend(image: Plane, other: Plane, mask: Plane) -> Plane:
    weight = mask[..., None]
    return image * (1 - weight) + other * weight
