"""What must be there before the demo's line can start: good parts, learnt, and a config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from alfa.prompting.promptset import find_prompt_file
from edge.camera.sources.synthetic import render
from edge.demo.learning import Product, learn, write_config
from edge.settings import Settings, SyntheticSource, load_settings

LINE = "plate"
PROMPTS = "metal_plate"
TAUGHT = 4
CALIBRATED = 19  # the fewest good parts that can hold a false-reject rate of 1 in 20
ALPHA = 0.05
# A machine without a GPU may fall behind the camera; the demo then shows late verdicts, not FAULTs.
MAX_AGE_MS = 120_000


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's directory and what it starts from."""

    config: Path
    settings: Settings
    source: SyntheticSource


def build_stage(directory: Path, runtime: Path, parts: int, rate_hz: float, seed: int) -> Stage:
    """Teach and calibrate on good parts of the same line, then write its config.toml.

    Args:
        directory: everything but the sockets goes here.
        runtime: for the sockets; its path must be short.
        parts: how many the camera captures.
        rate_hz: parts a second.
        seed: of the line; the good parts to learn from have a seed of their own.

    Raises:
        Fault: teaching or calibrating failed.
    """
    source = SyntheticSource(kind="synthetic", seed=seed, rate_hz=rate_hz, limit=parts)
    product = Product(directory / "good-parts", find_prompt_file(PROMPTS), TAUGHT, CALIBRATED, ALPHA)
    write_good_parts(product.good, source.model_copy(update={"seed": seed + 1, "defect_rate": 0.0}))
    learn(product, directory)
    table = source.model_dump(include={"kind", "seed", "rate_hz", "limit"})
    config = write_config(product, LINE, table, directory, runtime, MAX_AGE_MS)
    return Stage(config, load_settings(config), source)


def write_good_parts(directory: Path, source: SyntheticSource) -> None:
    """Render the good parts to learn from, as a person would collect them at the start of a shift."""
    directory.mkdir(parents=True, exist_ok=True)
    for seq in range(TAUGHT + CALIBRATED):
        pixels = render(source, seq).pixels
        cv2.imwrite(str(directory / f"good-{seq:03d}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
