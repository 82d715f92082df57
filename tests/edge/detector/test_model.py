"""Loading beside the loop that serves, and what is said of what was loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import structlog
from structlog.testing import LogCapture

from alfa.backbone import Backbone
from alfa.memory import MemoryBank
from alfa.prompting.promptset import PromptSet, save_prompt_set
from alfa.settings import ModelSettings
from edge.detector.model import Model
from edge.settings import load_settings

WriteConfig = Callable[..., Path]
_PATIENCE_S = 30.0


@pytest.fixture
def config(
    write_config: WriteConfig, runtime_dir: Path, tiny_settings: ModelSettings, tiny_backbone: Backbone
) -> Path:
    """Two lines without calibration, of which `line2` has a bank."""
    prompts = PromptSet("plate", ("A normal image of a plate.",), ("An abnormal image of a plate.",))
    save_prompt_set(prompts, runtime_dir / "prompts" / "plate.toml")
    plain = np.full((*tiny_backbone.image_size, 3), 128, np.uint8)
    features = [part for _, part in tiny_backbone.encode([plain])]
    MemoryBank.build(features, tiny_backbone, ["0"]).save(runtime_dir / "plate.safetensors")
    line = 'prompts = "plate"\nsource = { kind = "synthetic" }\n'
    return write_config(
        f'[model]\nname = "{tiny_settings.name}"\npretrained = "{tiny_settings.pretrained}"\n'
        f'[lines.line1]\n{line}[lines.line2]\n{line}bank = "{runtime_dir / "plate.safetensors"}"\n'
    )


def test_a_bank_without_calibration_is_warned_of_once_a_load(config: Path) -> None:
    """Its line is named, at the load and again at a reload; nearly all its parts will be NG."""
    told = LogCapture()
    log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        None, processors=[told], wrapper_class=structlog.stdlib.BoundLogger
    )
    model = Model(config, load_settings(config), "main", log)
    _until(lambda: model.take_loaded() is not None)
    assert model.take_loaded() is None
    assert _warned(told) == ["line2"]
    model.start_reload()
    _until(lambda: model.take_reloaded() is not None)
    assert _warned(told) == ["line2", "line2"]


def _warned(told: LogCapture) -> list[str]:
    return [entry["line"] for entry in told.entries if entry["event"] == "bank_without_calibration"]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
