"""What must be there before the demo's line can start: good parts, a bank, a threshold, a config."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

import cv2

from alfa.prompting.promptset import find_prompt_file
from edge.camera.sources.synthetic import render
from edge.demo.processes import run_command, script
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

    directory: Path
    config: Path
    settings: Settings
    source: SyntheticSource

    @property
    def database(self) -> Path:
        """The results service's record."""
        return self.settings.paths.state / self.settings.results.database


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
    images = directory / "good-parts"
    write_good_parts(images, source.model_copy(update={"seed": seed + 1, "defect_rate": 0.0}))
    bank, calibration = directory / "plate-bank.safetensors", directory / "plate-calibration.json"
    prompts = find_prompt_file(PROMPTS)
    teach_and_calibrate(images, prompts, bank, calibration, directory)
    config = directory / "config.toml"
    config.write_text(_config_text(source, prompts.parent, bank, calibration, runtime, free_port()))
    return Stage(directory, config, load_settings(config), source)


def write_good_parts(directory: Path, source: SyntheticSource) -> None:
    """Render the good parts to learn from, as a person would collect them at the start of a shift."""
    directory.mkdir(parents=True, exist_ok=True)
    for seq in range(TAUGHT + CALIBRATED):
        pixels = render(source, seq).pixels
        cv2.imwrite(str(directory / f"good-{seq:03d}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def teach_and_calibrate(images: Path, prompts: Path, bank: Path, calibration: Path, logs: Path) -> None:
    """The two commands a person runs for a new product; first images teach, the others set the threshold."""
    run_command(
        "alfa-bank",
        (script("alfa-bank"), "teach", str(images), "--limit", str(TAUGHT), "--out", str(bank)),
        logs,
    )
    run_command(
        "alfa-calibrate",
        (
            *(script("alfa-calibrate"), str(images), "--skip", str(TAUGHT), "--alpha", str(ALPHA)),
            *("--prompts", str(prompts), "--bank", str(bank), "--out", str(calibration)),
        ),
        logs,
    )


def free_port() -> int:
    """A TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _config_text(
    source: SyntheticSource, prompts: Path, bank: Path, calibration: Path, runtime: Path, plc_port: int
) -> str:
    # A JSON string is a TOML basic string too, whatever the path holds.
    quoted = json.dumps
    return f"""\
[paths]
prompts = {quoted(str(prompts))}
state = "state"
runtime = {quoted(str(runtime))}

[detector]
map_every_ok = 5

[results]
no_verdict_after_ms = {2 * MAX_AGE_MS}

[plc]
port = {plc_port}

[lines.{LINE}]
prompts = {quoted(PROMPTS)}
bank = {quoted(str(bank))}
calibration = {quoted(str(calibration))}
recipe = 1
max_age_ms = {MAX_AGE_MS}

[lines.{LINE}.source]
kind = "synthetic"
seed = {source.seed}
rate_hz = {source.rate_hz}
limit = {source.limit}
"""
