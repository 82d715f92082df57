"""What the systemd units must say, read from the files that are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ["alfa-results.service", "alfa-detector@.service", "alfa-camera@.service"]


def values(unit: str, key: str) -> list[str]:
    """Of a key, in the order of the file."""
    lines = (UNITS / unit).read_text(encoding="utf-8").splitlines()
    return [value for name, _, value in (line.partition("=") for line in lines) if name == key]


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_started_again_for_ever(unit: str) -> None:
    """Whatever is missing may be back after a weekend; no number of failures leaves the service dead."""
    assert values(unit, "Restart") == ["on-failure"]
    assert values(unit, "StartLimitIntervalSec") == ["0"]


@pytest.mark.parametrize("unit", SERVICES)
def test_wrong_settings_are_not_tried_again(unit: str) -> None:
    """They do not become right by themselves."""
    assert values(unit, "RestartPreventExitStatus") == ["2"]
