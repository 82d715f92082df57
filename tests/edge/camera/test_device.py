"""A camera through OpenCV. A video file stands in for one: OpenCV opens both alike, and its end is a loss."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from alfa.errors import Fault
from edge.camera.sources.base import Captured
from edge.camera.sources.device import CaptureDevice
from edge.settings import DeviceSource


@contextmanager
def opened(device: int | str) -> Iterator[CaptureDevice]:
    source = CaptureDevice(DeviceSource(kind="device", device=device))
    source.open()
    try:
        yield source
    finally:
        source.close()


def images(source: CaptureDevice, count: int) -> list[Captured]:
    """The next `count` images; fails when they do not come within ten seconds."""
    found: list[Captured] = []
    deadline = time.monotonic() + 10
    while len(found) < count:
        assert time.monotonic() < deadline
        shot = source.read(0.1)
        if isinstance(shot, Captured):
            found.append(shot)
    return found


@pytest.mark.parametrize("device", [77, "77", "/dev/video77"])
def test_camera_that_is_not_there_is_trouble(device: int | str) -> None:
    """It names the device and what to check; nothing is read, and nothing ends."""
    with opened(device) as source:
        assert source.read(0.01) is None
        assert source.trouble is not None
        assert source.trouble.name == "camera_unavailable"
        assert "77': does not open; check" in source.trouble.detail


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://user:secret@127.0.0.1:1/stream",
        "rtsp://user:at@secret@127.0.0.1:1/stream",
        "rtsp://127.0.0.1:1/stream?user=admin&password=secret",
    ],
)
def test_password_in_an_address_is_not_shown(address: str) -> None:
    """Troubles go to logs that others read."""
    with opened(address) as source:
        assert "secret" not in str(source.trouble)
        assert "127.0.0.1:1/stream" in str(source.trouble)


def test_camera_that_comes_later_is_found(tmp_path: Path, write_video: Callable[[Path], None]) -> None:
    """What was not there at the start is opened as soon as it is."""
    with opened(str(tmp_path / "v.avi")) as source:
        write_video(tmp_path / "v.avi")
        assert len(images(source, 4)) == 4


def test_images_come_in_order(tmp_path: Path, write_video: Callable[[Path], None]) -> None:
    """As delivered, stamped when they were read."""
    write_video(tmp_path / "v.avi")
    with opened(str(tmp_path / "v.avi")) as source:
        shots = images(source, 4)
    assert [round(shot.pixels.mean() / 60) for shot in shots] == [0, 1, 2, 3]
    assert [shot.mono_ns for shot in shots] == sorted(shot.mono_ns for shot in shots)
    assert {(shot.colour, shot.part_id) for shot in shots} == {("bgr", "")}


def test_lost_camera_is_reported_and_opened_again(tmp_path: Path, write_video: Callable[..., None]) -> None:
    """After the loss `trouble` says so and nothing is read; then images come back by themselves."""
    # More than may wait unread: the second loss comes after the last line.
    write_video(tmp_path / "v.avi", frames=8)
    with opened(str(tmp_path / "v.avi")) as source:
        images(source, 8)
        deadline = time.monotonic() + 10
        while not source.trouble:
            assert time.monotonic() < deadline
            assert source.read(0.01) is None
        assert source.trouble.name == "camera_lost"
        images(source, 1)
        assert source.trouble is None


def test_reading_after_closing_is_a_fault(tmp_path: Path, write_video: Callable[[Path], None]) -> None:
    """Without its thread nothing would ever come: the service must not wait for it."""
    write_video(tmp_path / "v.avi")
    with opened(str(tmp_path / "v.avi")) as source:
        images(source, 4)
    with pytest.raises(Fault, match="camera_lost"):
        source.read(0.01)
