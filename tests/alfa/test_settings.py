"""The `[model]` table: defaults, bounds, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from alfa.errors import BadInput
from alfa.settings import ModelSettings, load_model_settings


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_defaults_hold() -> None:
    """The embedded model, with nothing to configure."""
    assert load_model_settings(None).name == "alfa-mini"


def test_file_without_the_table_gives_defaults(tmp_path: Path) -> None:
    """A config that is only about lines says nothing of the model."""
    assert load_model_settings(config(tmp_path, "[other]\nx = 1\n")) == ModelSettings()


def test_values_are_taken(tmp_path: Path) -> None:
    """Only the model's table is read; other tables may hold anything."""
    path = config(tmp_path, "[model]\nname = 'ViT-B-16'\nscales = [3, 2]\n[lines.a]\nnonsense = true\n")
    settings = load_model_settings(path)
    assert (settings.name, settings.scales) == ("ViT-B-16", (2, 3))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("temprature = 1", "model.temprature"),
        ("temperature = 0", "model.temperature"),
        ("temperature = 'warm'", "model.temperature"),
        ("scales = []", "model.scales"),
        ("scales = [2, 2]", "model.scales"),
        ("scales = [5]", "model.scales"),
        ("scales = [2.5]", "model.scales.0"),
        ("device = 'tpu'", "model.device"),
        ("precision = 'int4'", "model.precision"),
        ("aligner = 'rotation'", "model.aligner"),
        ("name = ''", "model.name"),
        ("tokens_at_once = -1", "model.tokens_at_once"),
        ("threads = -1", "model.threads"),
        ("mode = 'quick'", "model.mode"),
    ],
)
def test_wrong_entry_is_named(tmp_path: Path, entry: str, key: str) -> None:
    """File and dotted key, on one line."""
    path = config(tmp_path, f"[model]\n{entry}\n")
    with pytest.raises(BadInput) as caught:
        load_model_settings(path)
    assert (caught.value.where, caught.value.key) == (str(path), key)
    assert "\n" not in str(caught.value)


def test_table_of_another_type_is_bad_input(tmp_path: Path) -> None:
    """`model = 3` is not a table."""
    with pytest.raises(BadInput, match="model = 3"):
        load_model_settings(config(tmp_path, "model = 3\n"))


def test_number_too_long_to_be_read_is_bad_input(tmp_path: Path) -> None:
    """Python refuses to read a decimal number of thousands of digits, by an error that is not TOML's."""
    config = tmp_path / "config.toml"
    config.write_text(f"[model]\nthreads = {'9' * 5000}\n")
    with pytest.raises(BadInput, match="not valid TOML"):
        load_model_settings(config)


def test_missing_file_is_bad_input(tmp_path: Path) -> None:
    """A config that was asked for must be there."""
    with pytest.raises(BadInput, match="no such file"):
        load_model_settings(tmp_path / "config.toml")


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_devices(device: str) -> None:
    """All ways to name a device, and a number only after cuda."""
    assert ModelSettings(device=device).device == device


def test_settings_can_be_a_key() -> None:
    """Equal settings hash alike and cannot be changed underneath a cache."""
    assert len({ModelSettings(), ModelSettings(scales=(3, 2))}) == 1
    with pytest.raises(ValidationError):
        ModelSettings().name = "other"  # type: ignore[misc]
