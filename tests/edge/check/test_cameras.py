"""Each line's source is opened and gives an image, or it is said why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.check.cameras import check_cameras
from edge.check.findings import Finding, Outcome
from edge.settings import load_settings
from edge.sockets import FRAME_HWM, Sockets

FOLDER = '[lines.line1]\nprompts = "generic"\nsource = { kind = "folder", path = "images" }\n'


@pytest.fixture
def look(write_config: Callable[..., Path]) -> Callable[[str], list[Finding]]:
    """`look(text)` is what is found with this config."""
    return lambda text: list(check_cameras(load_settings(write_config(text))))


def test_an_image_is_described(look: Callable[[str], list[Finding]], runtime_dir: Path) -> None:
    """As it will be sent: size and colour."""
    (runtime_dir / "images").mkdir()
    cv2.imwrite(str(runtime_dir / "images" / "0.png"), np.zeros((30, 40, 3), np.uint8))
    (found,) = look(FOLDER)
    assert (found.check, found.subject, found.outcome) == ("camera", "line1", Outcome.OK)
    assert found.detail == "gives images of 40 x 30, rgb"


def test_a_folder_that_is_not_there(look: Callable[[str], list[Finding]], runtime_dir: Path) -> None:
    """The line names it, and what to do is said."""
    (found,) = look(FOLDER)
    assert found.outcome is Outcome.FAIL
    assert str(runtime_dir / "images") in found.detail
    assert "`source` of the line" in found.advice


def test_a_part_that_is_no_image(look: Callable[[str], list[Finding]], runtime_dir: Path) -> None:
    """The first part says what all would be like."""
    (runtime_dir / "images").mkdir()
    (runtime_dir / "images" / "0.png").write_bytes(b"no image")
    (found,) = look(FOLDER)
    assert (found.outcome, "part '0' is no image" in found.detail) == (Outcome.FAIL, True)


def test_a_device_that_is_not_there(look: Callable[[str], list[Finding]]) -> None:
    """By the fault's name, and not only after the check's patience."""
    (found,) = look(
        '[lines.line1]\nprompts = "generic"\nsource = { kind = "device", device = "/dev/video98" }\n'
    )
    assert found.outcome is Outcome.FAIL


def test_a_camera_in_use_is_left_alone(write_config: Callable[..., Path]) -> None:
    """Its service holds the device: opening it would fail, or take it away."""
    settings = load_settings(write_config(FOLDER))
    with Sockets() as sockets:
        sockets.publisher(settings.camera_endpoint("line1"), FRAME_HWM)
        (found,) = check_cameras(settings)
    assert (found.outcome, "in use by edge-camera" in found.detail) == (Outcome.OK, True)
