"""What a person does for a new product: teach, calibrate, and write the line's config.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge.demo.processes import run_command
from edge.processes import free_port, script

_BANK, _CALIBRATION, _CONFIG = "bank.safetensors", "calibration.json", "config.toml"


@dataclass(frozen=True, slots=True)
class Product:
    """A product and how much of it is learnt.

    Attributes:
        good: directory of good images; the first `taught` teach, the next `calibrated` set the threshold.
        prompts: prompt file.
        taught: good images in the memory bank.
        calibrated: other good images that set the threshold.
        alpha: false-reject rate to hold.
    """

    good: Path
    prompts: Path
    taught: int
    calibrated: int
    alpha: float


def learn(product: Product, directory: Path) -> None:
    """Run the two commands of a new product; bank, calibration and their logs go to `directory`.

    Raises:
        Fault: a command failed; its output is in the message.
    """
    good, bank = str(product.good), str(directory / _BANK)
    teach = (script("alfa-bank"), "teach", good, "--limit", str(product.taught), "--out", bank)
    run_command("alfa-bank", teach, directory)
    calibrate = (
        *(script("alfa-calibrate"), good, "--skip", str(product.taught)),
        *("--limit", str(product.calibrated), "--alpha", str(product.alpha)),
        *("--prompts", str(product.prompts), "--bank", bank, "--out", str(directory / _CALIBRATION)),
    )
    run_command("alfa-calibrate", calibrate, directory)


def write_config(
    product: Product,
    line: str,
    source: Mapping[str, str | int | float],
    directory: Path,
    runtime: Path,
    max_age_ms: int,
) -> Path:
    """The config.toml of one line that judges the learnt product, with a PLC on a free port of this machine.

    Args:
        product: what was learnt into `directory`.
        line: its name.
        source: the line's `source` table.
        directory: for the file and the record.
        runtime: for the sockets; its path must be short.
        max_age_ms: of a frame. A machine without a GPU may fall behind its camera.
    """
    config = directory / _CONFIG
    config.write_text(f"""\
[paths]
prompts = {_toml(str(product.prompts.parent))}
state = "state"
runtime = {_toml(str(runtime))}

[detector]
map_every_ok = 5

[results]
no_verdict_after_ms = {2 * max_age_ms}

[plc]
port = {free_port()}

[lines.{line}]
prompts = {_toml(product.prompts.stem)}
bank = {_toml(_BANK)}
calibration = {_toml(_CALIBRATION)}
recipe = 1
max_age_ms = {max_age_ms}
source = {{ {", ".join(f"{key} = {_toml(value)}" for key, value in source.items())} }}
""")
    return config


def _toml(value: str | int | float) -> str:
    """A JSON string or number is a TOML one too, whatever a path holds."""
    return json.dumps(value)
