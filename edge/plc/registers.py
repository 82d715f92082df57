"""The Modbus holding registers of a line: one table from which encode, decode, CSV and docs come.

    base + 32 x index, written by the inspector             base + 1000 + 32 x index, written by the PLC
    +----+---------------------+                            +---+--------------------+
    |  0 | protocol version    |                            | 0 | acknowledge (edge) |
    |  1 | heartbeat           |                            | 1 | reset (edge)       |
    |  2 | status bits         |                            | 2 | pause (level)      |
    |  3 | result toggle       |                            | 3 | heartbeat echo     |
    |  4 | seq, high word      |                            +---+--------------------+
    |  5 | seq, low word       |
    |  6 | part id, high word  |    status, bit 15 ... 0:
    |  7 | part id, low word   |    0 0 0 0 0 0 0 P D C F A K V B R
    |  8 | result code         |                  | | | | | | | | +- ready
    |  9 | fault code          |                  | | | | | | | +--- busy
    | 10 | score x 10000       |                  | | | | | | +----- result valid
    | 11 | threshold x 10000   |                  | | | | | +------- result OK
    | 12 | recipe              |                  | | | | +--------- NG alarm (latched)
    | 13 | judged in ms        |                  | | | +----------- fault (latched)
    | 14 | alarm count         |                  | | +------------- camera alive
    +----+---------------------+                  | +--------------- detector alive
                                                  +----------------- paused

Pure: nothing here touches a socket or a clock. A 32-bit value has its high word first.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from edge.messages import FaultCode, Result

PROTOCOL = 1
BLOCK_STRIDE = 32
CONTROL_OFFSET = 1000
# A further block would reach into the first control block.
MAX_INDEX = 30
SCORE_SCALE = 10_000
_WORD = 0xFFFF
_DOUBLE_WORD = 0xFFFF_FFFF
# Reference numbers count holding registers from 400001; requests on the wire count them from 0.
_FIRST_REFERENCE = 400_001


class ResultCode(IntEnum):
    """Register 8."""

    NONE = 0
    OK = 1
    NG = 2
    FAULT = 3


@dataclass(frozen=True, slots=True)
class LineImage:
    """What the registers of one line say, in their own units; by default nothing is known."""

    protocol: int = PROTOCOL
    heartbeat: int = 0
    ready: bool = False
    busy: bool = False
    result_valid: bool = False
    result_ok: bool = False
    ng_alarm: bool = False
    fault: bool = False
    camera_alive: bool = False
    detector_alive: bool = False
    paused: bool = False
    toggle: int = 0
    seq: int = 0
    part_id: int = 0
    result_code: ResultCode = ResultCode.NONE
    fault_code: int = FaultCode.NONE
    score: int = 0
    threshold: int = 0
    recipe: int = 0
    judged_ms: int = 0
    alarm_count: int = 0


@dataclass(frozen=True, slots=True)
class Control:
    """What the PLC asks of one line."""

    acknowledge: int = 0
    reset: int = 0
    pause: int = 0
    echo: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """One value in a block.

    Attributes:
        offset: register within the block.
        name: of the attribute of `LineImage` or `Control` that it holds.
        meaning: for the person who programs the PLC.
        words: 1, or 2 with the high word first.
        bit: within the register, where it holds several flags.
    """

    offset: int
    name: str
    meaning: str
    words: int = 1
    bit: int | None = None


FIELDS = (
    Field(0, "protocol", f"version of this register map: {PROTOCOL}"),
    Field(1, "heartbeat", "counts up at every heartbeat, 65535 then 0; no change is a loss of the inspector"),
    Field(2, "ready", "1: camera, detector, record and PLC link work and parts are judged", bit=0),
    Field(2, "busy", "1: captured parts wait for their verdict", bit=1),
    Field(2, "result_valid", "1: registers 4 to 8 show a verdict", bit=2),
    Field(2, "result_ok", "1: the shown part is OK; 0 in every other case", bit=3),
    Field(2, "ng_alarm", "1: k of the last n parts were NG; stays until acknowledged", bit=4),
    Field(2, "fault", "1: a part was not judged or something was lost; stays until acknowledged", bit=5),
    Field(2, "camera_alive", "1: the camera beats and delivers", bit=6),
    Field(2, "detector_alive", "1: the detector beats and judges", bit=7),
    Field(2, "paused", "1: paused by the PLC; parts are recorded and not shown", bit=8),
    Field(3, "toggle", "0 or 1, changes with every shown verdict"),
    Field(4, "seq", "capture number since the camera started, modulo 2^32; high word first", words=2),
    Field(
        6,
        "part_id",
        "the part id where it is a decimal number below 2^32, else the CRC-32 of its text, 0 without; "
        "high word first",
        words=2,
    ),
    Field(8, "result_code", ", ".join(f"{code.value} {code.name}" for code in ResultCode)),
    Field(
        9,
        "fault_code",
        "why `fault` is set: " + ", ".join(f"{code.value} {code.name.lower()}" for code in FaultCode),
    ),
    Field(10, "score", f"anomaly score x {SCORE_SCALE}, at most 65535; 0 without"),
    Field(11, "threshold", f"NG above this score, x {SCORE_SCALE}, at most 65535; 0 without"),
    Field(12, "recipe", "number of the recipe (`recipe` of the line) that judged the shown part"),
    Field(13, "judged_ms", "milliseconds from capture to verdict, at most 65535"),
    Field(14, "alarm_count", "NG alarms raised since the start or reset, modulo 65536"),
)
CONTROL_FIELDS = (
    Field(0, "acknowledge", "0 to 1: clears `ng_alarm` and `fault` as far as they were shown"),
    Field(
        1, "reset", "0 to 1: as acknowledge, and clears the shown result, the last n parts and alarm_count"
    ),
    Field(2, "pause", "1: pause the line; 0: run"),
    Field(3, "echo", "the PLC copies `heartbeat` here"),
)


def block_length(fields: Sequence[Field]) -> int:
    """Registers of a block."""
    return max(field.offset + field.words for field in fields)


IMAGE_LENGTH = block_length(FIELDS)
CONTROL_LENGTH = block_length(CONTROL_FIELDS)


def image_address(base: int, index: int) -> int:
    """First register of a line's block."""
    return base + BLOCK_STRIDE * index


def control_address(base: int, index: int) -> int:
    """First register of a line's control block."""
    return base + CONTROL_OFFSET + BLOCK_STRIDE * index


def encode_image(image: LineImage) -> list[int]:
    """The registers of a line's block, to be written in one request."""
    return _encode(image, FIELDS)


def decode_image(registers: Sequence[int]) -> LineImage:
    """The reverse of `encode_image`.

    Raises:
        ValueError: too few registers, or a result code that does not exist.
    """
    values = _decode(registers, FIELDS)
    return LineImage(**{**values, "result_code": ResultCode(values["result_code"])})


def encode_control(control: Control) -> list[int]:
    """The registers of a line's control block."""
    return _encode(control, CONTROL_FIELDS)


def decode_control(registers: Sequence[int]) -> Control:
    """The reverse of `encode_control`.

    Raises:
        ValueError: too few registers.
    """
    return Control(**_decode(registers, CONTROL_FIELDS))


def safe_state(image: LineImage, code: int) -> LineImage:
    """The image that lets no part pass: ready = 0, result OK = 0, fault = 1.

    A fault that is shown already keeps its code; a shown OK is withdrawn from every register that tells it.
    """
    withdrawn = image.result_code is ResultCode.OK
    return dataclasses.replace(
        image,
        ready=False,
        result_ok=False,
        result_valid=image.result_valid and not withdrawn,
        result_code=ResultCode.NONE if withdrawn else image.result_code,
        fault=True,
        fault_code=image.fault_code or code,
    )


def is_safe(image: LineImage) -> bool:
    """Whether an image lets no part pass, as `safe_state` makes it."""
    return image.fault and not image.ready and not image.result_ok


def result_code(result: Result) -> ResultCode:
    """Register 8 of a verdict."""
    return ResultCode[result.name]


def part_number(part_id: str) -> int:
    """32 bits of a part id: its number if it is one below 2^32, else the CRC-32 of its text; 0 without."""
    if part_id.isascii() and part_id.isdecimal() and int(part_id) <= _DOUBLE_WORD:
        return int(part_id)
    return zlib.crc32(part_id.encode())


def word(value: float) -> int:
    """A number as one register: rounded, and held at 0 and 65535; 0 for what is not a number."""
    if math.isnan(value):
        return 0
    return round(min(max(value, 0), _WORD))


def scaled_score(score: float | None) -> int:
    """Registers 10 and 11: x 10000, 0 where there is none; a bank's distances may take a score past 65535."""
    return 0 if score is None else word(score * SCORE_SCALE)


@dataclass(frozen=True, slots=True)
class MapRow:
    """One row of the register map as a person reads it; `address` counts from 0, `reference` from 400001."""

    line: str
    address: int
    reference: int
    register: int
    name: str
    bits: str
    written_by: str
    meaning: str


def map_rows(line: str, base: int, index: int) -> Iterator[MapRow]:
    """The register map of one line, in the order of addresses."""
    blocks = (
        (image_address(base, index), FIELDS, "inspector"),
        (control_address(base, index), CONTROL_FIELDS, "PLC"),
    )
    for start, fields, writer in blocks:
        for field in fields:
            address = start + field.offset
            yield MapRow(
                line=line,
                address=address,
                reference=address + _FIRST_REFERENCE,
                register=field.offset,
                name=field.name,
                bits=_bits(field),
                written_by=writer,
                meaning=field.meaning,
            )


def _bits(field: Field) -> str:
    return f"0-{16 * field.words - 1}" if field.bit is None else str(field.bit)


def _encode(block: LineImage | Control, fields: Sequence[Field]) -> list[int]:
    registers = [0] * block_length(fields)
    for field in fields:
        value = int(getattr(block, field.name))
        if field.bit is not None:
            registers[field.offset] |= value << field.bit
        else:
            for place in range(field.words):
                registers[field.offset + place] = value >> 16 * (field.words - 1 - place) & _WORD
    return registers


def _decode(registers: Sequence[int], fields: Sequence[Field]) -> dict[str, Any]:
    if len(registers) < block_length(fields):
        raise ValueError(f"{len(registers)} registers, {block_length(fields)} expected")
    values: dict[str, Any] = {}
    for field in fields:
        if field.bit is not None:
            values[field.name] = bool(registers[field.offset] >> field.bit & 1)
        else:
            words = registers[field.offset : field.offset + field.words]
            values[field.name] = sum(part << 16 * place for place, part in enumerate(reversed(words)))
    return values
