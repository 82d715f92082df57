"""The register map: images computed by hand, and the promises of the table itself."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import FaultCode, Result
from edge.plc.registers import (
    CONTROL_FIELDS,
    CONTROL_LENGTH,
    CONTROL_OFFSET,
    FIELDS,
    IMAGE_LENGTH,
    MAX_INDEX,
    Control,
    LineImage,
    ResultCode,
    control_address,
    decode_control,
    decode_image,
    encode_control,
    encode_image,
    image_address,
    map_rows,
    part_number,
    result_code,
    safe_state,
    scaled_score,
    word,
)

WORDS = st.integers(0, 0xFFFF)
DOUBLE_WORDS = st.integers(0, 0xFFFF_FFFF)
IMAGES = st.builds(
    LineImage,
    **{
        field.name: st.booleans()
        if field.bit is not None
        else st.sampled_from(ResultCode)
        if field.name == "result_code"
        else DOUBLE_WORDS
        if field.words == 2
        else WORDS
        for field in FIELDS
    },
)


def test_image_by_hand() -> None:
    """Every register of design section 5 at its place, computed by hand."""
    image = LineImage(
        heartbeat=513,
        ready=True,
        result_valid=True,
        ng_alarm=True,
        camera_alive=True,
        detector_alive=True,
        toggle=1,
        seq=0x0001_0002,
        part_id=0xDEAD_BEEF,
        result_code=ResultCode.NG,
        fault_code=0,
        score=7312,
        threshold=5000,
        recipe=12,
        judged_ms=48,
        alarm_count=3,
    )
    status = 0b1101_0101
    assert encode_image(image) == [
        *(1, 513, status, 1, 0x0001, 0x0002, 0xDEAD, 0xBEEF),
        *(2, 0, 7312, 5000, 12, 48, 3),
    ]


@pytest.mark.parametrize(
    ("flag", "bit"),
    [
        ("ready", 0),
        ("busy", 1),
        ("result_valid", 2),
        ("result_ok", 3),
        ("ng_alarm", 4),
        ("fault", 5),
        ("camera_alive", 6),
        ("detector_alive", 7),
        ("paused", 8),
    ],
)
def test_status_bits(flag: str, bit: int) -> None:
    """Each flag alone sets exactly its own bit of register 2."""
    flags: dict[str, Any] = {flag: True}
    image = LineImage(**flags)
    assert encode_image(image)[2] == 1 << bit


@given(IMAGES)
def test_images_survive_the_registers(image: LineImage) -> None:
    """What is written is what is read."""
    registers = encode_image(image)
    assert all(0 <= register <= 0xFFFF for register in registers)
    assert decode_image(registers) == image


@given(st.builds(Control, WORDS, WORDS, WORDS, WORDS))
def test_controls_survive_the_registers(control: Control) -> None:
    """Acknowledge, reset, pause and echo, in this order."""
    assert encode_control(control) == [control.acknowledge, control.reset, control.pause, control.echo]
    assert decode_control(encode_control(control)) == control


def test_too_few_registers_are_refused() -> None:
    """A short answer of a PLC is not taken for zeros."""
    with pytest.raises(ValueError, match="14 registers, 15 expected"):
        decode_image([0] * 14)


def test_no_two_fields_share_a_place() -> None:
    """Every bit of a block belongs to one field."""
    for fields in (FIELDS, CONTROL_FIELDS):
        places = [
            (field.offset + place, bit)
            for field in fields
            for place in range(field.words)
            for bit in (range(16) if field.bit is None else [field.bit])
        ]
        assert len(places) == len(set(places))


def test_the_table_names_every_attribute() -> None:
    """Nothing of an image is left out of the registers."""
    assert [field.name for field in FIELDS] == [field.name for field in dataclasses.fields(LineImage)]
    assert [field.name for field in CONTROL_FIELDS] == [field.name for field in dataclasses.fields(Control)]


def test_no_two_blocks_overlap() -> None:
    """With all lines in use every block has its registers for itself."""
    blocks = [
        range(start, start + length)
        for index in range(MAX_INDEX + 1)
        for start, length in (
            (image_address(0, index), IMAGE_LENGTH),
            (control_address(0, index), CONTROL_LENGTH),
        )
    ]
    used = [address for block in blocks for address in block]
    assert len(used) == len(set(used))
    assert image_address(0, MAX_INDEX + 1) + IMAGE_LENGTH > CONTROL_OFFSET


def test_addresses_by_hand() -> None:
    """base + 32 x index, and 1000 further on for the control block."""
    assert image_address(200, 2) == 264
    assert control_address(200, 2) == 1264


@given(IMAGES, st.sampled_from(FaultCode))
def test_safe_state_lets_nothing_pass(image: LineImage, code: FaultCode) -> None:
    """ready = 0, result OK = 0, fault = 1, and no register still says OK; NG and alarms stay."""
    safe = safe_state(image, code)
    assert (safe.ready, safe.result_ok, safe.fault) == (False, False, True)
    assert safe.result_code is not ResultCode.OK
    assert safe.fault_code == (image.fault_code or code)
    assert (safe.ng_alarm, safe.alarm_count, safe.seq) == (image.ng_alarm, image.alarm_count, image.seq)


@pytest.mark.parametrize(
    ("part_id", "number"),
    [
        ("", 0),
        ("0", 0),
        ("4711", 4711),
        ("0042", 42),
        ("4294967295", 0xFFFF_FFFF),
        ("4294967296", zlib.crc32(b"4294967296")),
        ("-1", zlib.crc32(b"-1")),
        ("A-17", 0x4C99974A),
        ("٣", zlib.crc32("٣".encode())),
    ],
)
def test_part_number(part_id: str, number: int) -> None:
    """Decimal ids below 2^32 are themselves, any other text is its CRC-32."""
    assert part_number(part_id) == number


@pytest.mark.parametrize(
    ("value", "register"),
    [(0.4, 0), (0.6, 1), (-3, 0), (70_000, 65_535), (float("nan"), 0), (float("inf"), 65_535)],
)
def test_word(value: float, register: int) -> None:
    """One register holds 0 to 65535 and never wraps."""
    assert word(value) == register


def test_scores() -> None:
    """Four decimals; no score is 0, and one of a part far from all taught ones is held."""
    assert [scaled_score(score) for score in (0.73123, 1.0, None, 8.4)] == [7312, 10_000, 0, 65_535]


def test_result_codes() -> None:
    """0 none, 1 OK, 2 NG, 3 FAULT."""
    assert [result_code(result) for result in (Result.OK, Result.NG, Result.FAULT)] == [1, 2, 3]


def test_map_rows() -> None:
    """The map of a line tells addresses on the wire, references, bits and who writes."""
    rows = {row.name: row for row in map_rows("bottle", 100, 1)}
    assert len(rows) == len(FIELDS) + len(CONTROL_FIELDS)
    assert (rows["seq"].address, rows["seq"].reference, rows["seq"].bits) == (136, 400_137, "0-31")
    assert (rows["fault"].register, rows["fault"].bits) == (2, "5")
    assert (rows["acknowledge"].address, rows["acknowledge"].written_by) == (1132, "PLC")


def test_the_docs_show_this_map() -> None:
    """The table in docs/plc.md is the table of the code."""
    docs = Path(__file__).parents[3] / "docs" / "plc.md"
    shown = [line for line in docs.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for row in map_rows("line", 0, 0):
        cells = (row.address, row.reference, f"`{row.name}`", row.bits, row.written_by, row.meaning)
        assert f"| {' | '.join(map(str, cells))} |" in shown
