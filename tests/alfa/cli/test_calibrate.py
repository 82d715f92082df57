"""`alfa-calibrate` on a tiny model: the file it writes and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alfa.calibration import Calibration
from alfa.cli import bank, calibrate
from alfa.memory import MemoryBank

Command = Callable[..., Any]


def test_it_writes_the_threshold_for_the_stated_rate(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """30 good images hold 5 %; the file says so."""
    out = tmp_path / "calibration.json"
    ended = command(
        calibrate.main, good_images, "--prompts", tiny_prompts, "--out", out, "--config", tiny_config
    )
    assert ended.exit_code == 0, ended.stderr
    calibration = Calibration.load(out)
    assert (calibration.n, calibration.alpha, calibration.bank_hash) == (30, 0.05, "")
    assert calibration.content_hash in ended.stdout


def test_taught_images_are_skipped_and_the_bank_is_named(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """Teach the first 4, calibrate on the other 26."""
    bank_file, out = tmp_path / "bank.safetensors", tmp_path / "calibration.json"
    command(bank.main, "teach", good_images, "--out", bank_file, "--limit", 4, "--config", tiny_config)
    options = ("--prompts", tiny_prompts, "--bank", bank_file, "--out", out, "--config", tiny_config)
    ended = command(calibrate.main, good_images, "--skip", 4, *options)
    assert ended.exit_code == 0, ended.stderr
    assert Calibration.load(out).n == 26
    assert Calibration.load(out).bank_hash == MemoryBank.load(bank_file).content_hash


def test_calibrating_on_taught_images_is_refused(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """Their distance to the bank is zero, which no new part has."""
    bank_file, out = tmp_path / "bank.safetensors", tmp_path / "calibration.json"
    command(bank.main, "teach", good_images, "--out", bank_file, "--limit", 4, "--config", tiny_config)
    options = ("--prompts", tiny_prompts, "--bank", bank_file, "--out", out, "--config", tiny_config)
    ended = command(calibrate.main, good_images, "--skip", 3, *options)
    assert ended.exit_code == 2
    assert "003.png: was taught to the bank" in ended.stderr
    assert not out.exists()


def test_too_few_images_say_what_they_support(
    command: Command, good_images: Path, tiny_prompts: Path, tiny_config: Path, tmp_path: Path
) -> None:
    """One line, exit 2, nothing written."""
    out = tmp_path / "calibration.json"
    options = ("--prompts", tiny_prompts, "--out", out, "--limit", 9, "--config", tiny_config)
    ended = command(calibrate.main, good_images, *options)
    assert ended.exit_code == 2
    assert "alpha = 0.05: 9 good images support a false-reject rate of 0.1000" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not out.exists()
