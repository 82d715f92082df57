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


def test_the_alarms_come_before_the_model() -> None:
    """Cores and memory that do not suffice for all are taken from a detector (defaults: 100 and 0)."""
    assert int(*values("alfa-results.service", "CPUWeight")) > 100
    assert int(*values("alfa-results.service", "OOMScoreAdjust")) < 0


def test_a_detector_waits_for_the_gpus_device_files() -> None:
    """Its own unit may neither load modules nor make devices, and allows those of loaded drivers alone."""
    for key in ("Wants", "After"):
        assert "alfa-gpu.service" in " ".join(values("alfa-detector@.service", key)).split()


def test_a_box_without_nvidia_needs_no_gpu_unit() -> None:
    """It is passed over where the driver's helper is not there, and nothing fails."""
    assert values("alfa-gpu.service", "ConditionPathExists") == ["/usr/bin/nvidia-modprobe"]


@pytest.mark.parametrize("key", ["ProtectClock", "PrivateDevices", "DevicePolicy", "DeviceAllow"])
def test_the_gpu_unit_may_make_and_open_devices(key: str) -> None:
    """Each of these, ProtectClock in older systemd, leaves it no device but those named."""
    assert values("alfa-gpu.service", key) == []


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("alfa*.service")))
def test_every_unit_leaves_with_the_product(unit: str) -> None:
    """The installer takes all; what it removes is named one by one."""
    assert f'"$UNITS"/{unit}' in (UNITS / "install.sh").read_text(encoding="utf-8")
