"""Headers to msgpack and back, and the checks that every message has in common.

    header   msgpack map, field name -> value, at most 64 KiB; `v` is the protocol's version
    array    the values alone, row by row; shape and type are in the header

Nothing is allocated for what a sender claims: depth, items and lengths are bounded first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import msgpack
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from edge.messages.errors import (
    MalformedHeader,
    TooLarge,
    UnknownVersion,
    WrongLength,
    WrongParts,
    WrongTopic,
)

VERSION = 1

MAX_HEADER_BYTES = 64 * 1024
LONGEST_SHOWN = 80  # bytes or characters of what an outsider sent, in an error that is logged
_MAX_HEADER_ITEMS = 4096

# A later minor version may add fields; an older reader then ignores them.
LENIENT = ConfigDict(extra="ignore")

Part: TypeAlias = bytes | memoryview
_Header = TypeVar("_Header")


class HeaderCodec(Generic[_Header]):
    """Packs and unpacks one kind of header, a dataclass whose fields say their own bounds.

    Args:
        kind: the dataclass.
    """

    def __init__(self, kind: type[_Header]) -> None:
        self._adapter: TypeAdapter[_Header] = TypeAdapter(kind)

    def pack(self, header: _Header) -> bytes:
        """The header as a msgpack map."""
        # Ten times as fast as dataclasses.asdict, which copies every field.
        packed: bytes = msgpack.packb(self._adapter.dump_python(header, warnings=False))
        return packed

    def unpack(self, packed: Part) -> _Header:
        """The reverse of `pack`.

        Raises:
            DecodeError: too large, another version, or malformed.
        """
        if len(packed) > MAX_HEADER_BYTES:
            raise TooLarge(f"header of {len(packed)} bytes; at most {MAX_HEADER_BYTES}")
        fields = _unpack_map(packed)
        # The version comes first: a later protocol may differ in every other field.
        if fields.get("v") != VERSION:
            version = repr(fields.get("v"))[:LONGEST_SHOWN]
            raise UnknownVersion(f"version {version}; this side speaks {VERSION}")
        try:
            return self._adapter.validate_python(fields)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in found["loc"])[:LONGEST_SHOWN]
            raise MalformedHeader(f"{where}: {found['msg']}") from error

    def unpack_message(self, parts: Sequence[Part], topic_of: Callable[[_Header], bytes]) -> _Header:
        """The header of a message that has nothing beside it, under the topic that it names itself.

        Raises:
            DecodeError: another number of parts, the header as for `unpack`, or another topic.
        """
        topic, packed = expect_parts(parts, 2)
        header = self.unpack(packed)
        expect_topic(topic, topic_of(header))
        return header


def expect_parts(parts: Sequence[Part], count: int) -> Sequence[Part]:
    """The same parts, where they are so many.

    Raises:
        WrongParts: they are not.
    """
    if len(parts) != count:
        raise WrongParts(f"{len(parts)} parts, {count} expected")
    return parts


def expect_topic(topic: Part, expected: bytes) -> None:
    """A header may not claim another line than the one subscribed to.

    Raises:
        WrongTopic: it does.
    """
    if bytes(topic) != expected:
        raise WrongTopic(f"topic {bytes(topic[:LONGEST_SHOWN])!r} but the header says {expected!r}")


def array_of(payload: Part, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The values of a payload, as a read-only view of it.

    Raises:
        WrongLength: shape and type need another number of bytes.
    """
    kind = np.dtype(dtype)
    expected = math.prod(shape) * kind.itemsize
    if len(payload) != expected:
        raise WrongLength(f"payload of {len(payload)} bytes, header says {expected}")
    if not expected:
        return np.empty(shape, kind)
    array = np.frombuffer(payload, kind).reshape(shape)
    array.flags.writeable = False
    return array


def _unpack_map(packed: Part) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(
            packed,
            max_map_len=_MAX_HEADER_ITEMS,
            max_array_len=_MAX_HEADER_ITEMS,
            max_str_len=MAX_HEADER_BYTES,
            max_bin_len=0,
            max_ext_len=0,
        )
    # unpackb raises ValueError and its kin for bad bytes, and these two for depth and odd map keys.
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise MalformedHeader(f"not a msgpack header: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedHeader(f"header is a {type(fields).__name__}, not a map")
    return fields
