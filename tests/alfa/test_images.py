"""Reading images: one form comes out, and what is no usable image is refused in one line."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from alfa.errors import BadInput
from alfa.images import list_images, read_image, to_rgb


def _picture(height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _written(path: Path, array: NDArray[np.generic]) -> Path:
    assert cv2.imwrite(str(path), array)
    return path


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds no pixel: reading any of it would fail."""
    header = _chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_lossless_file_is_read_as_the_rgb_pixels_that_were_written(tmp_path: Path, suffix: str) -> None:
    """OpenCV writes BGR; what is read is the same picture with its channels in RGB order."""
    bgr = _picture()
    image = read_image(_written(tmp_path / f"part{suffix}", bgr))
    np.testing.assert_array_equal(image, bgr[:, :, ::-1])
    assert image.flags["C_CONTIGUOUS"]


def test_a_grey_file_has_three_equal_channels(tmp_path: Path) -> None:
    """A grey camera's picture is its grey three times."""
    grey = _picture()[:, :, 0]
    image = read_image(_written(tmp_path / "grey.png", grey))
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_is_divided_by_257_and_rounded(tmp_path: Path, channels: int) -> None:
    """0 and 65535 map to 0 and 255, and 128 (0.498 of a step) rounds down where 129 (0.502) rounds up."""
    values = np.zeros((16, 16, channels), np.uint16)
    values[0, :4] = np.array([65535, 128, 129, 257 * 7], np.uint16)[:, None]
    image = read_image(_written(tmp_path / "deep.png", values))
    assert image.dtype == np.uint8
    assert image[0, :4, 0].tolist() == [255, 0, 1, 7]


def test_alpha_is_dropped_and_colour_kept(tmp_path: Path) -> None:
    """A fully transparent pixel keeps the colour that the camera saw."""
    bgra = np.dstack([_picture(), np.zeros((20, 30), np.uint8)])
    image = read_image(_written(tmp_path / "alpha.png", bgra))
    np.testing.assert_array_equal(image, bgra[:, :, 2::-1])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    """Half a file must not become half a picture, of which the missing part is judged."""
    path = _written(tmp_path / f"cut{suffix}", _picture(200, 200))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadInput, match=f"cut{suffix}"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, foreign and header-only files are named in one line."""
    path = tmp_path / "fake.png"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"fake\.png") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The path is in the message."""
    with pytest.raises(BadInput, match=r"gone\.png: no such image"):
        read_image(tmp_path / "gone.png")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """A directory given for an image is bad input, not a traceback."""
    with pytest.raises(BadInput, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 400), (400, 15)])
def test_an_image_under_16_pixels_a_side_is_refused(tmp_path: Path, height: int, width: int) -> None:
    """There is nothing to judge in it; its size is in the message."""
    path = _written(tmp_path / "tiny.png", _picture(height, width))
    with pytest.raises(BadInput, match=f"{width}x{height}"):
        read_image(path)


def test_sixteen_pixels_a_side_are_read(tmp_path: Path) -> None:
    """The smallest size allowed is allowed."""
    assert read_image(_written(tmp_path / "small.png", _picture(16, 16))).shape == (16, 16, 3)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_huge_image_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    """The file holds no pixels, so only the header can have told; far above the limit works alike."""
    path = tmp_path / "huge.png"
    path.write_bytes(_png_header(side, side))
    start = time.monotonic()
    with pytest.raises(BadInput, match="more than 50000000 pixels"):
        read_image(path)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"icc_profile": b"profile"}], ids=["VP8", "VP8L", "VP8X"]
)
def test_a_huge_webp_is_refused_before_its_canvas_is_made(tmp_path: Path, options: dict[str, Any]) -> None:
    """Pillow makes it when it opens the file; here nothing but the header is there to open."""
    path = tmp_path / "huge.webp"
    Image.fromarray(_picture(24, 40)).save(path, **options)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(BadInput, match="size = '40x24'"):
        read_image(path, max_pixels=24 * 40 - 1)


def test_the_pixel_limit_is_the_callers(tmp_path: Path) -> None:
    """Exactly the limit is read, one pixel more is not."""
    path = _written(tmp_path / "part.png", _picture(20, 30))
    assert read_image(path, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(BadInput, match="more than 599 pixels"):
        read_image(path, max_pixels=599)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    """There is no telling what 1.0 means in a float image."""
    path = _written(tmp_path / "float.tif", np.ones((20, 20), np.float32))
    with pytest.raises(BadInput, match=r"float\.tif"):
        read_image(path)


def test_a_directory_lists_its_images_sorted_and_nothing_else(tmp_path: Path) -> None:
    """Suffixes count in any case; other files and directories do not."""
    for name in ("b.PNG", "a.jpeg", "c.webp", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpeg", "b.PNG", "c.webp"]


def test_a_missing_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    """Nothing to do is never success."""
    with pytest.raises(BadInput, match="no such directory"):
        list_images(tmp_path / "gone")
    with pytest.raises(BadInput, match="holds no image"):
        list_images(tmp_path)


def test_bgr_is_turned_round_and_rgb_is_passed_through() -> None:
    """RGB costs no copy."""
    picture = _picture()
    np.testing.assert_array_equal(to_rgb(picture, "bgr"), picture[:, :, ::-1])
    assert to_rgb(picture, "rgb") is picture


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1)])
def test_grey_arrays_with_or_without_a_channel_axis_become_rgb(shape: tuple[int, ...]) -> None:
    """Both forms of a grey frame give three equal channels."""
    grey = np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(shape)
    image = to_rgb(grey, "grey")
    assert image.shape == (20, 30, 3)
    np.testing.assert_array_equal(image, np.stack([grey.reshape(20, 30)] * 3, axis=2))


def test_an_array_that_does_not_fit_its_colour_is_refused() -> None:
    """Wrong channel counts and wrong types are bad input."""
    with pytest.raises(BadInput, match="does not fit 8-bit grey"):
        to_rgb(_picture(), "grey")
    with pytest.raises(BadInput, match="does not fit 8-bit rgb"):
        to_rgb(_picture()[:, :, 0], "rgb")
    with pytest.raises(BadInput, match="does not fit 8-bit bgr"):
        to_rgb(_picture().astype(np.float32), "bgr")


@given(st.integers(16, 40), st.integers(16, 40))
def test_any_size_survives_the_way_through_a_view(height: int, width: int) -> None:
    """A view that is not contiguous (a crop, a flip) comes back contiguous and equal."""
    view = _picture(height * 2, width * 2)[::2, ::-2]
    image = to_rgb(view, "rgb")
    np.testing.assert_array_equal(image, view)
    assert image.flags["C_CONTIGUOUS"]
