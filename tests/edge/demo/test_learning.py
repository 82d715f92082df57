"""The config that the demo writes is one that the services read."""

from __future__ import annotations

from pathlib import Path

from edge.demo.learning import Product, write_config
from edge.settings import FolderSource, load_settings


def test_the_written_config_is_read_back(tmp_path: Path, runtime_dir: Path) -> None:
    """Also when a path holds a quote, a backslash or a letter outside ASCII."""
    odd = tmp_path / 'te"il\\e ü'
    odd.mkdir()
    product = Product(odd / "good", odd / "prompts" / "metal_nut.toml", taught=4, calibrated=19, alpha=0.05)
    source: dict[str, str | int | float] = {"kind": "folder", "path": str(odd / "images"), "rate_hz": 0.5}
    settings = load_settings(write_config(product, "parts", source, odd, runtime_dir, max_age_ms=1000))
    line = settings.lines["parts"]
    assert line.source == FolderSource(kind="folder", path=odd / "images", rate_hz=0.5)
    assert (line.prompts, settings.paths.prompts) == ("metal_nut", odd / "prompts")
    assert (line.bank, line.calibration) == (odd / "bank.safetensors", odd / "calibration.json")
    assert settings.paths.runtime == runtime_dir
    assert settings.results.no_verdict_after_ms > line.max_age_ms == 1000
