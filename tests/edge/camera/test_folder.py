"""A folder as a line: every file is a part, readable or not."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from alfa.errors import BadInput
from edge.camera.sources.base import END, Captured, Unreadable
from edge.camera.sources.folder import ImageFolder
from edge.settings import FolderSource


def write_image(path: Path, value: int) -> None:
    assert cv2.imwrite(str(path), np.full((20, 30, 3), (0, 0, value), np.uint8))


def opened(directory: Path, **changes: bool) -> ImageFolder:
    source = ImageFolder(FolderSource(kind="folder", path=directory, **changes))
    source.open()
    return source


def test_files_come_by_name_as_rgb(tmp_path: Path) -> None:
    """Sorted, with the stem as part id, red first; then the end, again and again."""
    write_image(tmp_path / "b.png", 2)
    write_image(tmp_path / "a.png", 1)
    source = opened(tmp_path)
    shots = [source.read(0), source.read(0)]
    assert [
        (shot.part_id, shot.colour, *shot.pixels[0, 0]) for shot in shots if isinstance(shot, Captured)
    ] == [
        ("a", "rgb", 1, 0, 0),
        ("b", "rgb", 2, 0, 0),
    ]
    assert [source.read(0), source.read(0)] == [END, END]


def test_unusable_file_is_still_a_part(tmp_path: Path) -> None:
    """It is reported with its id and reason, and the next file follows."""
    (tmp_path / "a.png").write_bytes(b"no image")
    write_image(tmp_path / "b.png", 1)
    source = opened(tmp_path)
    broken = source.read(0)
    assert isinstance(broken, Unreadable)
    assert (broken.part_id, "a.png" in broken.why) == ("a", True)
    assert isinstance(source.read(0), Captured)


def test_file_that_vanished_is_unreadable(tmp_path: Path) -> None:
    """Deleted after the listing: the part counts, nothing stops."""
    write_image(tmp_path / "a.png", 1)
    source = opened(tmp_path)
    (tmp_path / "a.png").unlink()
    assert isinstance(source.read(0), Unreadable)


def test_loop_starts_over(tmp_path: Path) -> None:
    """With `loop` the first file follows the last."""
    write_image(tmp_path / "a.png", 1)
    source = opened(tmp_path, loop=True)
    shots = [source.read(0) for _ in range(3)]
    assert [shot.part_id for shot in shots if isinstance(shot, Captured)] == ["a", "a", "a"]


def test_part_id_fits_the_wire(tmp_path: Path) -> None:
    """A long or badly encoded file name is cut and cleaned."""
    write_image(tmp_path / "a.png", 1)
    (tmp_path / "a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff" + b"x" * 80 + b".png"))
    shot = opened(tmp_path).read(0)
    assert isinstance(shot, Captured | Unreadable)
    assert shot.part_id == "?" + "x" * 63


@pytest.mark.parametrize("made", [False, True])
def test_missing_or_empty_directory_is_bad_input(tmp_path: Path, made: bool) -> None:
    """There is nothing to stream, and the path is named."""
    if made:
        (tmp_path / "images").mkdir()
    with pytest.raises(BadInput, match="images"):
        opened(tmp_path / "images")
