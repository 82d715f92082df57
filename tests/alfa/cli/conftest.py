"""Commands run in this process, as their console scripts run them, on images on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run a console script's `main` with arguments."""

    def run(main: Callable[[], None], *arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def good_images(tmp_path: Path) -> Path:
    """A directory of thirty good images, named in the order they were made."""
    directory = tmp_path / "good"
    directory.mkdir()
    generator = np.random.default_rng(3)
    for index in range(30):
        noise = generator.integers(-8, 9, (40, 50, 3))
        cv2.imwrite(str(directory / f"{index:03d}.png"), (128 + noise).astype(np.uint8))
    return directory
