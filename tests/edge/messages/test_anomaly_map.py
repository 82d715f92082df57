"""An anomaly map and its picture survive the wire, within their limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import (
    MAX_JPEG_BYTES,
    AnomalyMap,
    MapHeader,
    Result,
    TooLarge,
    WrongLength,
    decode_map,
    encode_map,
)


@given(st.integers(0, 9), st.integers(0, 9), st.binary(max_size=20), st.randoms(use_true_random=False))
def test_map_survives_the_wire(height: int, width: int, jpeg: bytes, random: Any) -> None:
    """Header, values and picture come back equal, a map without values included."""
    values = np.array([random.random() for _ in range(height * width)], np.float16).reshape(height, width)
    header = MapHeader("line1", 7, 5, Result.NG, height, width, 0.1, 0.6)
    decoded = decode_map(encode_map(AnomalyMap(header, values, jpeg)))
    assert (decoded.header, decoded.jpeg) == (header, jpeg)
    np.testing.assert_array_equal(decoded.values, values)


def test_map_of_another_length_is_refused() -> None:
    """A 1 x 2 float16 map is 4 bytes."""
    header = MapHeader("line1", 7, 5, Result.OK, 1, 2)
    parts = encode_map(AnomalyMap(header, np.zeros((1, 2), np.float16)))
    with pytest.raises(WrongLength):
        decode_map([*parts[:2], b"xyz", parts[3]])


def test_jpeg_above_the_limit_is_too_large() -> None:
    """A picture beyond the limit is refused."""
    header = MapHeader("line1", 7, 5, Result.NG, 0, 0)
    parts = encode_map(AnomalyMap(header, np.empty((0, 0), np.float16)))
    with pytest.raises(TooLarge):
        decode_map([*parts[:3], bytes(MAX_JPEG_BYTES + 1)])
