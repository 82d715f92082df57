"""A captured part survives the wire, its pixels uncopied; one whose layout cannot be is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import (
    DecodeError,
    Frame,
    FrameHeader,
    MalformedHeader,
    NoImage,
    TooLarge,
    WrongLength,
    decode_frame,
    decode_frame_header,
    encode_frame,
    encode_unreadable,
)
from tests.edge.messages.examples import a_frame, frames, repacked


@given(frames())
def test_frame_survives_the_wire(frame: Frame) -> None:
    """Header and pixels come back equal."""
    decoded = decode_frame(encode_frame(frame))
    assert decoded.header == frame.header
    np.testing.assert_array_equal(decoded.pixels, frame.pixels)


def test_frame_of_a_cut_array_is_sent_contiguous() -> None:
    """A view with gaps in memory arrives as its own pixels, not as its neighbours'."""
    whole = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    header = FrameHeader("line1", 7, 5, 1, 2, 4, 4, 3, "uint8", "rgb")
    decoded = decode_frame(encode_frame(Frame(header, whole[:, 2:6])))
    np.testing.assert_array_equal(decoded.pixels, whole[:, 2:6])


def test_decoded_pixels_cannot_be_changed() -> None:
    """They are a view of the received message, which others may share."""
    decoded = decode_frame([bytes(part) for part in encode_frame(a_frame())])
    with pytest.raises(ValueError, match="read-only"):
        decoded.pixels[0, 0, 0] = 1


def test_decoding_a_frame_does_not_copy_it() -> None:
    """The pixels lie in the message's own memory."""
    parts = [bytes(part) for part in encode_frame(a_frame())]
    assert np.shares_memory(decode_frame(parts).pixels, np.frombuffer(parts[2], np.uint8))


def test_part_without_image_keeps_its_header() -> None:
    """Which part it is, and why there is no image; never an image of one grey pixel."""
    header = dataclasses.replace(a_frame().header, unreadable="cut short")
    parts = encode_unreadable(header)
    assert decode_frame_header(parts) == header
    with pytest.raises(NoImage, match="cut short"):
        decode_frame([*parts[:2], bytes(18)])


def test_header_tells_the_part_whatever_became_of_its_pixels() -> None:
    """Of a payload that was cut short, and of a slot that cannot be read."""
    frame = a_frame()
    parts = encode_frame(frame)
    assert decode_frame_header([*parts[:2], b"cut"]) == frame.header
    assert decode_frame_header([*parts[:2], b"", b"no slot"]) == frame.header


def test_size_as_captured_is_the_images_own_where_nothing_was_shrunk() -> None:
    """Older cameras say nothing of it."""
    assert a_frame(2, 3).header.captured_size == (2, 3)


@pytest.mark.parametrize("size", [(1, 9), (9, 1)])
def test_size_as_captured_below_the_image_is_malformed(size: tuple[int, int]) -> None:
    """A camera shrinks, it never enlarges."""
    parts = repacked(encode_frame(a_frame(2, 3)), captured_height=size[0], captured_width=size[1])
    with pytest.raises(MalformedHeader, match="captured"):
        decode_frame(parts)


@pytest.mark.parametrize("payload", [b"", b"x" * 17, b"x" * 19])
def test_pixels_of_another_length_are_refused(payload: bytes) -> None:
    """2 x 3 x 3 pixels are 18 bytes, not one less or more."""
    parts = encode_frame(a_frame(2, 3))
    with pytest.raises(WrongLength):
        decode_frame([*parts[:2], payload])


def test_image_above_the_limit_is_too_large() -> None:
    """An image that claims more pixels than allowed is refused, whatever follows."""
    parts = repacked(encode_frame(a_frame()), height=65_535, width=65_535)
    with pytest.raises(TooLarge):
        decode_frame(parts)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("line", "../etc"),
        ("line", "a" * 65),
        ("seq", -1),
        ("seq", 2**63),
        ("seq", "5"),
        ("seq", True),
        ("height", 0),
        ("width", 65_536),
        ("channels", 2),
        ("dtype", "float32"),
        ("colour", "cmyk"),
        ("part_id", "x" * 65),
        ("colour", "grey"),  # beside three channels
    ],
)
def test_frame_header_out_of_bounds_is_malformed(field: str, value: object) -> None:
    """Each field is checked for type and bounds."""
    with pytest.raises(MalformedHeader, match=field if value != "grey" else "channels"):
        decode_frame(repacked(encode_frame(a_frame()), **{field: value}))


@given(frames(), st.integers(0, 10**9), st.integers(0, 255))
def test_a_flipped_header_byte_never_gives_other_pixels(frame: Frame, where: int, value: int) -> None:
    """A damaged header is refused, or the message still has the pixels and the line it was sent with."""
    parts = encode_frame(frame)
    damaged = bytearray(parts[1])
    damaged[where % len(damaged)] = value
    try:
        decoded = decode_frame([parts[0], bytes(damaged), parts[2]])
    except DecodeError:
        return
    assert decoded.header.line == frame.header.line
    assert decoded.pixels.tobytes() == frame.pixels.tobytes()
