"""A video file as a line: every frame is a part."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alfa.errors import BadInput
from edge.camera.sources.base import END, Captured
from edge.camera.sources.video import VideoFile
from edge.settings import VideoSource


def opened(path: Path, rate_hz: float = 0, loop: bool = False) -> VideoFile:
    source = VideoFile(VideoSource(kind="video", path=path, rate_hz=rate_hz, loop=loop))
    source.open()
    return source


def test_frames_come_in_order_and_end(tmp_path: Path, write_video: Callable[[Path], None]) -> None:
    """Each frame once, numbered from 0, as OpenCV's BGR; then the end."""
    write_video(tmp_path / "v.avi")
    source = opened(tmp_path / "v.avi")
    shots = [source.read(0) for _ in range(4)]
    seen = [
        (shot.part_id, shot.colour, int(shot.pixels.mean())) for shot in shots if isinstance(shot, Captured)
    ]
    assert [(part, colour) for part, colour, _ in seen] == [(str(n), "bgr") for n in range(4)]
    assert [level for *_, level in seen] == pytest.approx([0, 60, 120, 180], abs=4)
    assert source.read(0) is END
    source.close()


def test_loop_starts_over(tmp_path: Path, write_video: Callable[[Path], None]) -> None:
    """With `loop` the first frame follows the last."""
    write_video(tmp_path / "v.avi")
    source = opened(tmp_path / "v.avi", loop=True)
    shots = [source.read(0) for _ in range(6)]
    assert [shot.part_id for shot in shots if isinstance(shot, Captured)] == ["0", "1", "2", "3", "0", "1"]
    source.close()


def test_looping_file_that_goes_is_trouble_until_it_is_back(
    tmp_path: Path, write_video: Callable[[Path], None]
) -> None:
    """As a camera that is unplugged: no end, no error, and the first frame again when it can be read."""
    write_video(tmp_path / "v.avi")
    source = opened(tmp_path / "v.avi", loop=True)
    (tmp_path / "v.avi").rename(tmp_path / "elsewhere.avi")
    shots = [source.read(0) for _ in range(6)]
    assert shots[4:] == [None, None]
    assert source.trouble is not None
    assert str(source.trouble).startswith("camera_lost: ")
    assert "v.avi: no such file" in source.trouble.detail
    (tmp_path / "elsewhere.avi").rename(tmp_path / "v.avi")
    deadline = time.monotonic() + 10
    while (shot := source.read(0.1)) is None:
        assert time.monotonic() < deadline
    assert isinstance(shot, Captured)
    assert shot.part_id == "0"
    assert not source.trouble
    source.close()


def test_rate_is_the_files_own_unless_set(tmp_path: Path, write_video: Callable[[Path], None]) -> None:
    """Ten a second as recorded, or what the settings say."""
    write_video(tmp_path / "v.avi")
    assert opened(tmp_path / "v.avi").rate_hz == pytest.approx(10)
    assert opened(tmp_path / "v.avi", rate_hz=3).rate_hz == 3


def test_missing_file_is_bad_input(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(BadInput, match=r"v\.avi: no such file"):
        opened(tmp_path / "v.avi")


def test_file_that_is_no_video_is_bad_input(tmp_path: Path) -> None:
    """Told apart from a missing one."""
    (tmp_path / "v.avi").write_bytes(b"no video" * 100)
    with pytest.raises(BadInput, match=r"v\.avi: is no video"):
        opened(tmp_path / "v.avi")
