"""The wire format: pure encode and decode of every message that crosses a socket.

    frame/{line}/      | msgpack FrameHeader | raw pixels
    frame/{line}/      | msgpack FrameHeader | empty            | msgpack SlotRef, pixels in shared memory
    frame/{line}/      | msgpack FrameHeader | empty                (header.unreadable: a part without image)
    lease/{line}/      | msgpack Lease                         (detector -> camera: what it still reads)
    verdict/{line}/    | msgpack Verdict
    map/{line}/        | msgpack MapHeader   | float16 map      | JPEG of the judged image, or empty
    beat/{svc}/{line}/ | msgpack Beat
    replay/{line}/     | msgpack ReplayRequest             (request)
    replay/{line}/     | msgpack Verdict     | ...         (reply: one part a verdict, oldest first)

Each box is one part of a ZeroMQ multipart message. Topics end with "/" so that a subscription to `line1`
never matches `line10`. Every header carries `v`; nothing here touches a socket, a clock or a log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgpack
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

VERSION = 1

MAX_HEADER_BYTES = 64 * 1024
MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535
MAX_MAP_SIDE = 8192
MAX_SLOTS = 64
MOST_EARLIER_STARTS = 7
MAX_JPEG_BYTES = 64 * 1024 * 1024
LONGEST_TEXT = 1000  # characters
LONGEST_PART_ID = 64  # characters
# A count that jumps further is not believed: nobody loses so many parts between two messages, and each part
# told lost costs a verdict and a row of the record.
MOST_LOST_AT_ONCE = 100_000
# Of lines and of everything else whose name becomes a piece of a topic or of a file's name.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_REPLAY_TOPIC = re.compile(f"replay/{NAME_PATTERN.strip('^$')}/".encode())
_MAX_HEADER_ITEMS = 4096
_SHARED_FRAME_PARTS = 4
_LONGEST_SHOWN = 80  # characters of what an outsider sent, in an error that is logged

Part: TypeAlias = bytes | memoryview
Line: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
Text: TypeAlias = Annotated[str, Field(max_length=LONGEST_TEXT)]
PartId: TypeAlias = Annotated[str, Field(max_length=LONGEST_PART_ID)]
CounterName: TypeAlias = Annotated[str, Field(max_length=64)]
Hash: TypeAlias = Annotated[str, Field(max_length=64)]
# SQLite and most PLC tools know signed 64-bit integers only.
Counter: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
# A part's number; the count of parts, which is one more, must fit too.
Seq: TypeAlias = Annotated[int, Field(strict=True, ge=0, lt=2**63 - 1)]
Whole: TypeAlias = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
# NaN becomes NULL in SQLite and no valid JSON at all; text that looks like a number is none.
Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Result(StrEnum):
    """What a part is; no answer is never OK."""

    OK = "OK"
    NG = "NG"
    FAULT = "FAULT"


class FaultReason(StrEnum):
    """Why a part was not judged. The PLC shows the number (`fault_code`)."""

    NONE = ""
    FRAME_LOST = "frame_lost"
    STALE = "stale"
    SKIPPED = "skipped"
    QUEUE_FULL = "queue_full"
    UNDECODABLE = "undecodable"
    NON_FINITE = "non_finite"
    MODEL_ERROR = "model_error"
    NO_VERDICT = "no_verdict"


class FaultCode(IntEnum):
    """PLC register 9: reasons of a part's FAULT (1-99) and of a loss on the line (100 and up)."""

    NONE = 0
    FRAME_LOST = 1
    STALE = 2
    SKIPPED = 3
    QUEUE_FULL = 4
    UNDECODABLE = 5
    NON_FINITE = 6
    MODEL_ERROR = 7
    NO_VERDICT = 8
    CAMERA_LOST = 100
    DETECTOR_LOST = 101
    RECORD_FAILED = 102
    PLC_LOST = 103
    RESULTS_LOST = 104
    COUNT_DOUBTED = 105
    PLC_STOPPED = 106


def fault_code(reason: FaultReason) -> FaultCode:
    """The number the PLC sees for a reason."""
    return FaultCode[reason.name]


class ServiceState(StrEnum):
    """What a service says of itself in its beat."""

    STARTING = "STARTING"
    READY = "READY"
    PAUSED = "PAUSED"
    FAULT = "FAULT"


class DecodeError(Exception):
    """A message that cannot be taken; each way is a class of its own, counted under `reason`."""

    reason = "undecodable"


class UnknownVersion(DecodeError):
    """The header carries another version of this protocol."""

    reason = "unknown_version"


class WrongParts(DecodeError):
    """Another number of parts than this message has."""

    reason = "wrong_parts"


class WrongTopic(DecodeError):
    """The topic is not this message's, or names another line than the header."""

    reason = "wrong_topic"


class MalformedHeader(DecodeError):
    """Not msgpack, not a map, a field missing, of another type or out of bounds."""

    reason = "malformed_header"


class WrongLength(DecodeError):
    """A payload whose length is not what the header says."""

    reason = "wrong_length"


class TooLarge(DecodeError):
    """A header or payload above the limits; refused before anything is allocated."""

    reason = "too_large"


class NoImage(DecodeError):
    """A part of which the camera has no image; the header says why."""

    reason = "no_image"


class SlotLost(DecodeError):
    """Pixels in shared memory that are gone, overwritten, or lent to another reader."""

    reason = "slot_lost"


# A later minor version may add fields; an older reader then ignores them.
_LENIENT = ConfigDict(extra="ignore")


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One captured part: identity, clocks and the layout of the pixels that follow."""

    line: Line
    epoch: Counter  # random per camera start: tells a restart from a gap
    seq: Seq  # counts captures from 0 within the epoch
    mono_ns: Counter  # CLOCK_MONOTONIC of the box at capture: ages and latencies
    wall_ns: Counter  # UTC at capture: the record
    height: Annotated[int, Field(ge=1, le=MAX_SIDE)]
    width: Annotated[int, Field(ge=1, le=MAX_SIDE)]
    channels: Literal[1, 3]
    dtype: Literal["uint8"]
    colour: Literal["rgb", "bgr", "grey"]
    part_id: PartId = ""
    trigger: Text = ""
    captured_height: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0  # where the camera shrank the image, else 0
    captured_width: Annotated[int, Field(ge=0, le=MAX_SIDE)] = 0
    boot: Hash = ""  # whose clock `mono_ns` is of (`edge.clocks`); empty: unknown
    unreadable: Text = ""  # why there is no image of this part; the layout says nothing then
    v: int = VERSION

    @property
    def key(self) -> tuple[str, int, int]:
        """What makes a part unique on this plant: (line, epoch, seq)."""
        return self.line, self.epoch, self.seq

    @property
    def captured_size(self) -> tuple[int, int]:
        """(height, width) of the image as captured: what regions are told in."""
        return self.captured_height or self.height, self.captured_width or self.width


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class SlotRef:
    """Where a frame's pixels lie in shared memory, and for whom (`edge.ring`)."""

    ring: Counter  # random per ring: names its files
    index: Annotated[int, Field(ge=0, lt=MAX_SLOTS)]
    length: Annotated[int, Field(ge=1, le=MAX_PIXELS * 3)]  # bytes
    stamp: Annotated[int, Field(ge=1, lt=2**63)]  # counts the ring's frames; the slot carries the same
    holder: Counter  # the reader for whom the slot is kept until it says that it is done
    v: int = VERSION


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class Lease:
    """What a reader has of a ring: the whole state each time, so that none of these messages must arrive.

    A slot with a stamp of at most `seen` that is not in `held` is free again.
    """

    line: Line
    holder: Annotated[int, Field(ge=1, lt=2**63)]
    ring: Counter = 0  # 0: none yet; the reader only says that it can read one
    seen: Counter = 0
    held: Annotated[tuple[Counter, ...], Field(max_length=MAX_SLOTS)] = ()
    v: int = VERSION


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it travels: `pixels` (H, W, C) uint8 may be a read-only view of the received message."""

    header: FrameHeader
    pixels: npt.NDArray[np.uint8]

    def require_whole(self) -> None:
        """Ask, after the pixels have been read, whether they were this frame's all the time.

        Those of a message always are; a frame whose pixels lie in shared memory looks.

        Raises:
            SlotLost: what was read may be another part's.
        """


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class Region:
    """Where the map is above its threshold, in pixels of the image as captured."""

    x: Annotated[int, Field(strict=True, ge=0, lt=MAX_SIDE)]
    y: Annotated[int, Field(strict=True, ge=0, lt=MAX_SIDE)]
    width: Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
    height: Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
    area: Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE**2)]


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class Reason:
    """A descriptor of an anomaly and its cosine similarity to the image (Sec. 5.4)."""

    text: Text
    similarity: Number


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds a frame spent in each stage; `total` runs from capture to publication."""

    queue: Number = 0.0
    preprocess: Number = 0.0
    infer: Number = 0.0
    post: Number = 0.0
    total: Number = 0.0


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class Verdict:
    """The one answer a captured part gets. Scores are None where the part was not judged (FAULT)."""

    line: Line
    epoch: Counter
    seq: Seq
    part_id: PartId
    result: Result
    fault: FaultReason = FaultReason.NONE
    detail: Text = ""
    score: Number | None = None
    threshold: Number | None = None
    calibrated: bool = False
    s_global: Number | None = None
    s_local_max: Number | None = None
    side_was_empty: bool = False  # a side would have lost all its prompts and kept them all (Sec. 4.2)
    region: Region | None = None
    reasons: Annotated[tuple[Reason, ...], Field(max_length=16)] = ()
    prompts: Hash = ""
    bank: Hash = ""
    model: Hash = ""
    calibration: Hash = ""
    recipe: Annotated[int, Field(ge=0, le=65535)] = 0
    timings: Timings = field(default_factory=Timings)
    captured_wall_ns: Counter = 0
    captured_mono_ns: Counter = 0
    published_wall_ns: Counter = 0
    published_mono_ns: Counter = 0
    boot: Hash = ""  # whose clock `published_mono_ns` is of, as in `FrameHeader`
    judged_by: Text = ""
    v: int = VERSION

    @property
    def key(self) -> tuple[str, int, int]:
        """(line, epoch, seq), as in `FrameHeader.key`."""
        return self.line, self.epoch, self.seq


@with_config(_LENIENT)
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


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class EarlierStart:
    """How many parts a camera had captured in a start before this one, its last moment included."""

    epoch: Counter
    captured: Counter


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class Beat:
    """Twice a second: what a service says of itself, per line.

    Counters only grow within an epoch, but for two of the detector's: `queue`, frames that wait at this
    moment, and `prepared`, how many of them are ready for the model; and three of results': `ng_open` and
    `fault_open`, alarm events that nobody has acknowledged, and `plc_connected`, 0 or 1.
    """

    service: Literal["camera", "detector", "results"]
    line: Line
    state: ServiceState
    epoch: Counter
    counters: Annotated[dict[CounterName, Whole], Field(max_length=128)]
    last_seq: Annotated[int, Field(ge=-1, lt=2**63)] = -1
    last_error: Text = ""
    wall_ns: Counter = 0
    pid: Counter = 0
    # Of a camera: a start that was killed cannot tell its last parts any more (`edge.camera.tally`).
    earlier: Annotated[tuple[EarlierStart, ...], Field(max_length=MOST_EARLIER_STARTS)] = ()
    v: int = VERSION


@with_config(_LENIENT)
@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Asks a detector for all verdicts of a line that it still holds."""

    line: Line
    v: int = VERSION


_Header = TypeVar("_Header", FrameHeader, SlotRef, Lease, Verdict, MapHeader, Beat, ReplayRequest)


def missing_verdict(line: str, epoch: int, seq: int, fault: FaultReason, detail: str) -> Verdict:
    """FAULT of a part of which nothing but its number is known."""
    return Verdict(
        line=line, epoch=epoch, seq=seq, part_id="", result=Result.FAULT, fault=fault, detail=detail
    )


def frame_topic(line: str) -> bytes:
    """`frame/{line}/`."""
    return f"frame/{line}/".encode()


def lease_topic(line: str) -> bytes:
    """`lease/{line}/`."""
    return f"lease/{line}/".encode()


def verdict_topic(line: str) -> bytes:
    """`verdict/{line}/`."""
    return f"verdict/{line}/".encode()


def map_topic(line: str) -> bytes:
    """`map/{line}/`."""
    return f"map/{line}/".encode()


def beat_topic(service: str, line: str) -> bytes:
    """`beat/{service}/{line}/`."""
    return f"beat/{service}/{line}/".encode()


def replay_topic(line: str) -> bytes:
    """`replay/{line}/`."""
    return f"replay/{line}/".encode()


def encode_frame(frame: Frame) -> list[Part]:
    """Topic, header, pixels; the pixels are a view, not a copy, when they are contiguous."""
    pixels = np.ascontiguousarray(frame.pixels)
    return [frame_topic(frame.header.line), _pack(frame.header), pixels.data.cast("B")]


def encode_shared_frame(header: FrameHeader, slot: SlotRef) -> list[Part]:
    """Topic, header, nothing, slot: a frame whose pixels lie in shared memory."""
    return [frame_topic(header.line), _pack(header), b"", _pack(slot)]


def encode_unreadable(header: FrameHeader) -> list[Part]:
    """Topic, header, nothing: a part without image, whose header says why (`unreadable`)."""
    return [frame_topic(header.line), _pack(header), b""]


def slot_of(parts: Sequence[Part]) -> SlotRef | None:
    """The slot that a frame message refers to; None where its pixels are in the message.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _unpack(parts[3], SlotRef) if len(parts) == _SHARED_FRAME_PARTS else None


def decode_frame(parts: Sequence[Part]) -> Frame:
    """The reverse of `encode_frame`; `pixels` is a read-only view of the third part.

    Raises:
        DecodeError: one of its subclasses; nothing was allocated.
    """
    _, _, payload = _expect(parts, 3)
    return frame_of(decode_frame_header(parts), payload)


def decode_frame_header(parts: Sequence[Part]) -> FrameHeader:
    """Which part a frame message is of, whatever became of its pixels.

    Raises:
        DecodeError: one of its subclasses; then nobody knows which part it is.
    """
    topic, packed, *_ = parts if len(parts) == _SHARED_FRAME_PARTS else _expect(parts, 3)
    header = _unpack(packed, FrameHeader)
    _check_topic(topic, frame_topic(header.line))
    return header


def frame_of(header: FrameHeader, payload: Part) -> Frame:
    """The frame of a header and its pixels, of which it is a read-only view.

    Raises:
        DecodeError: there is no image, or header and pixels do not fit; nothing was allocated.
    """
    if header.unreadable:
        raise NoImage(header.unreadable)
    if header.channels != (1 if header.colour == "grey" else 3):
        raise MalformedHeader(f"{header.channels} channels cannot be {header.colour}")
    if header.height * header.width > MAX_PIXELS:
        raise TooLarge(f"{header.width} x {header.height} pixels; at most {MAX_PIXELS}")
    captured_height, captured_width = header.captured_size
    if captured_height < header.height or captured_width < header.width:
        raise MalformedHeader("captured_height, captured_width: smaller than the image that was sent")
    shape = (header.height, header.width, header.channels)
    return Frame(header, _array(payload, np.dtype(np.uint8), shape))


def encode_lease(lease: Lease) -> list[Part]:
    """Topic and header."""
    return [lease_topic(lease.line), _pack(lease)]


def decode_lease(parts: Sequence[Part]) -> Lease:
    """The reverse of `encode_lease`.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _decode_header(parts, Lease, lambda lease: lease_topic(lease.line))


def encode_verdict(verdict: Verdict) -> list[Part]:
    """Topic and header."""
    return [verdict_topic(verdict.line), _pack(verdict)]


def decode_verdict(parts: Sequence[Part]) -> Verdict:
    """The reverse of `encode_verdict`.

    Raises:
        DecodeError: one of its subclasses.
    """
    verdict = _decode_header(parts, Verdict, lambda verdict: verdict_topic(verdict.line))
    _check_judged(verdict)
    return verdict


def encode_map(anomaly_map: AnomalyMap) -> list[Part]:
    """Topic, header, float16 values, JPEG."""
    values = np.ascontiguousarray(anomaly_map.values, dtype=np.float16)
    # A view of an array with a zero side cannot be cast; it has no bytes anyway.
    payload = values.data.cast("B") if values.size else b""
    return [map_topic(anomaly_map.header.line), _pack(anomaly_map.header), payload, anomaly_map.jpeg]


def decode_map(parts: Sequence[Part]) -> AnomalyMap:
    """The reverse of `encode_map`.

    Raises:
        DecodeError: one of its subclasses.
    """
    topic, packed, payload, jpeg = _expect(parts, 4)
    header = _unpack(packed, MapHeader)
    _check_topic(topic, map_topic(header.line))
    if len(jpeg) > MAX_JPEG_BYTES:
        raise TooLarge(f"JPEG of {len(jpeg)} bytes; at most {MAX_JPEG_BYTES}")
    values = _array(payload, np.dtype(np.float16), (header.height, header.width))
    return AnomalyMap(header, values, bytes(jpeg))


def encode_beat(beat: Beat) -> list[Part]:
    """Topic and header."""
    return [beat_topic(beat.service, beat.line), _pack(beat)]


def decode_beat(parts: Sequence[Part]) -> Beat:
    """The reverse of `encode_beat`.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _decode_header(parts, Beat, lambda beat: beat_topic(beat.service, beat.line))


def encode_replay_request(request: ReplayRequest) -> list[Part]:
    """Topic and header."""
    return [replay_topic(request.line), _pack(request)]


def decode_replay_request(parts: Sequence[Part]) -> ReplayRequest:
    """The reverse of `encode_replay_request`.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _decode_header(parts, ReplayRequest, lambda request: replay_topic(request.line))


def encode_replay(line: str, published: Iterable[Sequence[Part]]) -> list[Part]:
    """Topic, then one packed verdict a part, oldest first.

    Args:
        line: whose verdicts they are.
        published: the messages of `encode_verdict`, as they went out: packing a long history anew would hold
            up the loop that answers.
    """
    return [replay_topic(line), *(packed for _, packed in published)]


def decode_replay(parts: Sequence[Part]) -> list[Verdict]:
    """The reverse of `encode_replay`.

    Raises:
        DecodeError: one of its subclasses.
    """
    if not parts:
        raise WrongParts("no parts in a replay")
    # A replay without verdicts has no header to compare its topic with.
    if not _REPLAY_TOPIC.fullmatch(parts[0]):
        raise WrongTopic(f"topic {bytes(parts[0][:_LONGEST_SHOWN])!r} is no replay's")
    verdicts = [_unpack(packed, Verdict) for packed in parts[1:]]
    for verdict in verdicts:
        _check_topic(parts[0], replay_topic(verdict.line))
        _check_judged(verdict)
    return verdicts


_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (FrameHeader, SlotRef, Lease, Verdict, MapHeader, Beat, ReplayRequest)
}


def _pack(header: FrameHeader | SlotRef | Lease | Verdict | MapHeader | Beat | ReplayRequest) -> bytes:
    # Ten times as fast as dataclasses.asdict, which copies every field.
    packed: bytes = msgpack.packb(_ADAPTERS[type(header)].dump_python(header, warnings=False))
    return packed


def _unpack(packed: Part, kind: type[_Header]) -> _Header:
    if len(packed) > MAX_HEADER_BYTES:
        raise TooLarge(f"header of {len(packed)} bytes; at most {MAX_HEADER_BYTES}")
    fields = _unpack_map(packed)
    # The version comes first: a later protocol may differ in every other field.
    if fields.get("v") != VERSION:
        version = repr(fields.get("v"))[:_LONGEST_SHOWN]
        raise UnknownVersion(f"version {version}; this side speaks {VERSION}")
    try:
        header: _Header = _ADAPTERS[kind].validate_python(fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in found["loc"])[:_LONGEST_SHOWN]
        raise MalformedHeader(f"{where}: {found['msg']}") from error
    return header


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


def _check_judged(verdict: Verdict) -> None:
    """A verdict that contradicts itself must not reach the PLC."""
    if verdict.result is Result.FAULT:
        if verdict.fault is FaultReason.NONE:
            raise MalformedHeader("fault: a FAULT verdict names its reason")
        return
    if verdict.fault is not FaultReason.NONE:
        raise MalformedHeader(f"fault: {verdict.fault} beside result {verdict.result}")
    judged: list[float] = []
    for name, value in (("score", verdict.score), ("threshold", verdict.threshold)):
        if value is None:
            raise MalformedHeader(f"{name}: {value} beside result {verdict.result}")
        judged.append(value)
    score, threshold = judged
    if verdict.result is Result.OK and score > threshold:
        raise MalformedHeader(f"score: {score} above threshold {threshold} beside result OK")


def _decode_header(
    parts: Sequence[Part], kind: type[_Header], topic_of: Callable[[_Header], bytes]
) -> _Header:
    """The header of a message that has nothing beside it, under the topic that it names itself."""
    topic, packed = _expect(parts, 2)
    header = _unpack(packed, kind)
    _check_topic(topic, topic_of(header))
    return header


def _check_topic(topic: Part, expected: bytes) -> None:
    if bytes(topic) != expected:
        raise WrongTopic(f"topic {bytes(topic[:_LONGEST_SHOWN])!r} but the header says {expected!r}")


def _expect(parts: Sequence[Part], count: int) -> Sequence[Part]:
    if len(parts) != count:
        raise WrongParts(f"{len(parts)} parts, {count} expected")
    return parts


def _array(payload: Part, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    if len(payload) != expected:
        raise WrongLength(f"payload of {len(payload)} bytes, header says {expected}")
    if not expected:
        return np.empty(shape, dtype)
    array = np.frombuffer(payload, dtype).reshape(shape)
    array.flags.writeable = False
    return array
