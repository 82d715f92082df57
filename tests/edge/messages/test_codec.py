"""What every message has in common: version, parts, topic and header, each refused by a name of its own."""

from __future__ import annotations

import msgpack
import pytest

from edge.messages import (
    MAX_HEADER_BYTES,
    VERSION,
    MalformedHeader,
    Part,
    TooLarge,
    UnknownVersion,
    WrongParts,
    WrongTopic,
    decode_beat,
    decode_frame,
    decode_verdict,
    encode_frame,
    encode_verdict,
    frame_topic,
)
from tests.edge.messages.examples import a_frame, a_verdict, repacked


@pytest.mark.parametrize("version", [VERSION + 1, 0, None, "1", 1.5])
def test_unknown_version_is_named_before_anything_else(version: object) -> None:
    """Another version is refused as such even if every other field is strange."""
    parts: list[Part] = [b"frame/line1/", msgpack.packb({"v": version, "shape": [1, 2]}), b""]
    with pytest.raises(UnknownVersion):
        decode_frame(parts)


def test_missing_version_is_an_unknown_version() -> None:
    """A header that does not say its version is not guessed at."""
    with pytest.raises(UnknownVersion):
        decode_beat([b"beat/camera/line1/", msgpack.packb({"service": "camera"})])


def test_one_part_too_many_is_wrong_parts() -> None:
    """A frame with something after its pixels is refused."""
    with pytest.raises(WrongParts):
        decode_frame([*encode_frame(a_frame()), b"more"])


def test_topic_of_another_line_is_a_wrong_topic() -> None:
    """A header may not claim another line than the one subscribed to."""
    parts = encode_frame(a_frame())
    with pytest.raises(WrongTopic):
        decode_frame([frame_topic("line10"), *parts[1:]])


def test_topic_of_another_kind_is_a_wrong_topic() -> None:
    """A verdict on a beat's topic is refused."""
    with pytest.raises(WrongTopic):
        decode_verdict([b"beat/line1/", *encode_verdict(a_verdict())[1:]])


def test_header_above_the_limit_is_too_large() -> None:
    """A header is refused by its size, before it is parsed."""
    with pytest.raises(TooLarge):
        decode_frame([b"frame/line1/", b"\xc0" * (MAX_HEADER_BYTES + 1), b""])


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"\x91" * (MAX_HEADER_BYTES - 1) + b"\xc0", id="depth"),
        pytest.param(b"\x81\xa1v" * 20_000 + b"\xc0", id="depth of maps"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="items of an array"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="items of a map"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="length of a text"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="length of bytes"),
        pytest.param(b"\xc9\xff\xff\xff\xff\x01", id="length of an extension"),
    ],
)
def test_header_that_claims_more_than_it_holds_is_malformed(packed: bytes) -> None:
    """Depth, items and lengths are bounded before anything is made of them."""
    with pytest.raises(MalformedHeader):
        decode_frame([b"frame/line1/", packed, b""])


def test_missing_field_is_malformed() -> None:
    """A header without its sequence number names it."""
    parts = encode_frame(a_frame())
    fields = msgpack.unpackb(parts[1])
    del fields["seq"]
    with pytest.raises(MalformedHeader, match="seq"):
        decode_frame([parts[0], msgpack.packb(fields), parts[2]])


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xff\xff",
        msgpack.packb([1, 2]),
        msgpack.packb(5),
        b"\x91" * 2000,  # lists in lists
        b"\x81\x81\x01\x02\x03",  # a map as a map's key
        b"\xdf\xff\xff\xff\xff",  # a map that claims 4 billion entries
        b"\xdb\xff\xff\xff\xff",  # a text that claims 4 GB
        b"\x81\xa1v\xd4\x01\x00",  # an extension type
        b"\x81\xa1v\xa1\xff",  # text that is not UTF-8
    ],
)
def test_what_is_no_header_is_malformed(packed: bytes) -> None:
    """Bytes that are no msgpack map, or one that would cost memory, are refused."""
    with pytest.raises(MalformedHeader):
        decode_frame([b"frame/line1/", packed, b""])


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    """A sender may add fields without breaking an older reader."""
    verdict = a_verdict()
    assert decode_verdict(repacked(encode_verdict(verdict), colour_of_the_sky="blue")) == verdict
