"""Image files to arrays: the one form in which images travel inside alfa (uint8 RGB, (H, W, 3), contiguous).

Free of torch, so that cameras and tools pay nothing for it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from alfa.errors import BadInput

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
SMALLEST_SIDE = 16
MAX_PIXELS = 50_000_000

# 65535 = 255 * 257: dividing by 257 maps the full 16-bit range onto the full 8-bit range.
_SIXTEEN_TO_EIGHT = 257

# Through the chunk that tells the size; a side has 14 bits.
_WEBP_HEADER_BYTES = 30
_WEBP_SIDE = 0x3FFF

Colour = Literal["rgb", "bgr", "grey"]
RgbImage = NDArray[np.uint8]


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> RgbImage:
    """Read an image file as uint8 RGB, (H, W, 3), C-contiguous.

    Grey becomes three equal channels, 16 bit becomes 8 (value / 257, rounded), alpha is dropped and the
    EXIF orientation is applied.

    Args:
        path: a file in one of the formats of `SUFFIXES`; the content decides, not the name.
        max_pixels: most pixels that are decoded; more are refused from the header alone.

    Raises:
        BadInput: the file is missing, no image, cut short, too small, too large or of another depth.
    """
    _check_whole(path, max_pixels)
    decoded = _decoded(path.read_bytes())
    if decoded is None:
        raise BadInput(path, "", None, "cannot be decoded; save it again as PNG or JPEG")
    return cv2.cvtColor(_to_eight_bit(path, decoded), cv2.COLOR_BGR2RGB)  # type: ignore[no-any-return]


def list_images(directory: Path) -> list[Path]:
    """The image files directly in `directory`, sorted by name.

    Raises:
        BadInput: there is no such directory, it cannot be read, or no image is in it.
    """
    try:
        if not directory.is_dir():
            raise BadInput(directory, "", None, "no such directory; check the path")
        found = sorted(
            path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
        )
    except OSError as error:
        raise BadInput(directory, "", None, f"cannot be read: {error.strerror}; check the path") from error
    if not found:
        kinds = " ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
        raise BadInput(directory, "", None, f"holds no image ({kinds}); check the path")
    return found


def to_rgb(array: NDArray[np.uint8], colour: Colour) -> RgbImage:
    """An image of a stated channel order as RGB, (H, W, 3), C-contiguous; no copy where it is that already.

    Args:
        array: (H, W, 3) for "rgb" and "bgr", (H, W) or (H, W, 1) for "grey"; uint8.
        colour: the channel order.

    Raises:
        BadInput: the shape or the type is another.
    """
    require_layout(array, colour)
    if colour == "grey":
        return cv2.cvtColor(array, cv2.COLOR_GRAY2RGB)  # type: ignore[no-any-return]
    if colour == "bgr":
        return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)  # type: ignore[no-any-return]
    return np.ascontiguousarray(array)


def require_layout(array: NDArray[np.uint8], colour: Colour) -> None:
    """Refuse an array that cannot be an image of this channel order, as `to_rgb` wants it.

    Raises:
        BadInput: the shape or the type is another.
    """
    shape_fits = array.shape[2:] in ((), (1,)) if colour == "grey" else array.shape[2:] == (3,)
    if array.ndim not in (2, 3) or not shape_fits or array.dtype != np.uint8:
        given = f"{array.dtype} {array.shape}"
        raise BadInput("image", "shape", given, f"does not fit 8-bit {colour}; expected HxW or HxWx3 bytes")


def _check_whole(path: Path, max_pixels: int) -> None:
    """Refuse by the header first, then what is cut short: OpenCV gives a half-grey picture for that."""
    try:
        with warnings.catch_warnings():
            # Pillow's own limit warns below ours; ours decides.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            _check_webp(path, max_pixels)
            with Image.open(path) as image:
                _check_size(path, image.size, max_pixels)
                image.load()
    except FileNotFoundError as error:
        raise BadInput(path, "", None, "no such image; check the path") from error
    except Image.DecompressionBombError as error:
        raise BadInput(path, "size", None, f"has more than {max_pixels} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise BadInput(path, "", None, "is not an image, or empty; save it again as PNG or JPEG") from error
    except (OSError, SyntaxError, ValueError) as error:
        # Pillow's decoders speak of damaged content in these three ways.
        raise BadInput(path, "", None, f"cannot be read whole ({error}); copy it again") from error


def _check_webp(path: Path, max_pixels: int) -> None:
    """Of WebP alone Pillow makes the whole canvas before it tells the size: a small file costs gigabytes."""
    with path.open("rb") as stream:
        size = _webp_size(stream.read(_WEBP_HEADER_BYTES))
    if size is not None:
        _check_size(path, size, max_pixels)


def _webp_size(header: bytes) -> tuple[int, int] | None:
    """(width, height) that a WebP file's first bytes tell (RFC 9649); None for another file or chunk."""
    if header[:4] != b"RIFF" or header[8:12] != b"WEBP" or len(header) < _WEBP_HEADER_BYTES:
        return None
    kind = header[12:16]
    if kind == b"VP8X":
        return int.from_bytes(header[24:27], "little") + 1, int.from_bytes(header[27:30], "little") + 1
    if kind == b"VP8L":
        sides = int.from_bytes(header[21:25], "little")
        return (sides & _WEBP_SIDE) + 1, (sides >> 14 & _WEBP_SIDE) + 1
    if kind == b"VP8 ":
        sides = int.from_bytes(header[26:30], "little")
        return sides & _WEBP_SIDE, sides >> 16 & _WEBP_SIDE
    return None


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    given = f"{width}x{height}"
    if width * height > max_pixels:
        raise BadInput(path, "size", given, f"has more than {max_pixels} pixels; make it smaller")
    if min(width, height) < SMALLEST_SIDE:
        raise BadInput(path, "size", given, f"is too small to judge; {SMALLEST_SIDE} pixels a side at least")


def _decoded(encoded: bytes) -> NDArray[np.generic] | None:
    # OpenCV writes its own view of a bad file to the terminal, beside our one line.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    finally:
        cv2.utils.logging.setLogLevel(level)


def _to_eight_bit(path: Path, decoded: NDArray[np.generic]) -> RgbImage:
    if decoded.dtype == np.uint16:
        rounded = (decoded.astype(np.uint32) + _SIXTEEN_TO_EIGHT // 2) // _SIXTEEN_TO_EIGHT
        return rounded.astype(np.uint8)
    if decoded.dtype != np.uint8:
        raise BadInput(
            path, "depth", str(decoded.dtype), "is not supported; save it with 8 or 16 bit a channel"
        )
    return decoded  # type: ignore[return-value]
