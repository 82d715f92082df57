"""Whatever arrives, every decoder gives a message or refuses it by a typed error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import (
    VERSION,
    Beat,
    DecodeError,
    FrameHeader,
    MapHeader,
    Part,
    Verdict,
    WrongParts,
    decode_beat,
    decode_frame,
    decode_frame_header,
    decode_lease,
    decode_map,
    decode_replay,
    decode_replay_request,
    decode_verdict,
)

DECODERS: tuple[Callable[[Sequence[Part]], Any], ...] = (
    decode_frame,
    decode_frame_header,
    decode_verdict,
    decode_map,
    decode_beat,
    decode_replay_request,
    decode_replay,
    decode_lease,
)

msgpack_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
near_headers = st.fixed_dictionaries(
    {"v": st.just(VERSION)},
    optional={
        name: msgpack_values | st.sampled_from(["line1", "uint8", "rgb", "OK", "camera", 1, 3, 0])
        for kind in (FrameHeader, Verdict, MapHeader, Beat)
        for name in (field.name for field in dataclasses.fields(kind))
        if name != "v"
    },
)
packed_headers = st.binary(max_size=64) | st.builds(
    lambda fields: msgpack.packb(fields), near_headers | msgpack_values
)
topics = st.binary(max_size=24) | st.sampled_from(
    [b"frame/line1/", b"verdict/line1/", b"map/line1/", b"beat/camera/line1/", b"replay/line1/"]
)


@pytest.mark.parametrize("decode", DECODERS)
def test_no_parts_are_wrong_parts(decode: Callable[[Sequence[Part]], Any]) -> None:
    """An empty message is refused by every decoder."""
    with pytest.raises(WrongParts):
        decode([])


@pytest.mark.parametrize("decode", DECODERS)
@given(topic=topics, header=packed_headers, rest=st.lists(st.binary(max_size=32), max_size=3))
def test_no_bytes_raise_anything_but_a_decode_error(
    decode: Callable[[Sequence[Part]], Any], topic: bytes, header: bytes, rest: list[bytes]
) -> None:
    """Whatever arrives, a decoder gives a message or a DecodeError."""
    try:
        decode([topic, header, *rest])
    except DecodeError:
        return


@given(st.lists(st.binary(max_size=32), max_size=5))
def test_any_number_of_random_parts_is_a_decode_error(parts: list[bytes]) -> None:
    """Random bytes in any number of parts are no message of ours to any decoder."""
    for decode in DECODERS:
        with pytest.raises(DecodeError):
            decode(parts)
