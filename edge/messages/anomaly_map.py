"""Where a judged image is anomalous, and that image, detector -> results and every subscriber.

    part 0   map/{line}/
    part 1   msgpack MapHeader
    part 2   the map: height x width float16, little-endian, row by row; empty where there is none
    part 3   the judged image as JPEG, or empty

Maps have a socket of their own, on which fewer may wait than verdicts (`edge.sockets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, with_config

from edge.messages.codec import LENIENT, VERSION, HeaderCodec, Part, array_of, expect_parts, expect_topic
from edge.messages.errors import TooLarge
from edge.messages.fields import MAX_SIDE, Counter, Line, Number, Seq
from edge.messages.verdict import Result

MAX_MAP_SIDE = 8192  # values
MAX_JPEG_BYTES = 64 * 1024 * 1024


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class MapHeader:
    """Identity and scale of an anomaly map; `median` and `threshold` are the fixed display scale 0 and 1."""

    line: Line
    epoch: Counter
    seq: Seq
    result: Result
    height: Annotated[int, Field(ge=0, le=MAX_MAP_SIDE)]
    width: Annotated[int, Field(ge=0, le=MAX_MAP_SIDE)]
    median: Number = 0.0
    threshold: Number = 0.5
    dtype: Literal["float16"] = "float16"
    # Of the image as captured, in which the verdict's region is told; the picture may be smaller. 0: unknown.
    captured_height: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0
    captured_width: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0
    v: int = VERSION


@dataclass(frozen=True, slots=True)
class AnomalyMap:
    """A map (h, w) float16 at model resolution, 0 x 0 where there is none, and the judged image as JPEG."""

    header: MapHeader
    values: npt.NDArray[np.float16]
    jpeg: bytes = b""


_HEADER = HeaderCodec(MapHeader)


def map_topic(line: str) -> bytes:
    """`map/{line}/`."""
    return f"map/{line}/".encode()


def encode_map(anomaly_map: AnomalyMap) -> list[Part]:
    """Topic, header, float16 values, JPEG."""
    values = np.ascontiguousarray(anomaly_map.values, dtype=np.float16)
    # A view of an array with a zero side cannot be cast; it has no bytes anyway.
    payload = values.data.cast("B") if values.size else b""
    return [map_topic(anomaly_map.header.line), _HEADER.pack(anomaly_map.header), payload, anomaly_map.jpeg]


def decode_map(parts: Sequence[Part]) -> AnomalyMap:
    """The reverse of `encode_map`.

    Raises:
        DecodeError: one of its subclasses.
    """
    topic, packed, payload, jpeg = expect_parts(parts, 4)
    header = _HEADER.unpack(packed)
    expect_topic(topic, map_topic(header.line))
    if len(jpeg) > MAX_JPEG_BYTES:
        raise TooLarge(f"JPEG of {len(jpeg)} bytes; at most {MAX_JPEG_BYTES}")
    values = array_of(payload, np.float16, (header.height, header.width))
    return AnomalyMap(header, values, bytes(jpeg))
