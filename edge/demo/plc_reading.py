"""The PLC's registers read back by a Modbus client of the demo's own, and what they must say."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from alfa.errors import Fault
from edge.messages import Result, Verdict
from edge.plc.registers import (
    IMAGE_LENGTH,
    LineImage,
    decode_image,
    image_address,
    part_number,
    result_code,
    scaled_score,
)
from edge.settings import PlcSettings

_INDEX = 0
_POLL_S = 0.05
_SEQ_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class PlcReading:
    """The line's block when it showed the last verdict, and the heartbeat some writes later."""

    image: LineImage
    later_heartbeat: int

    def rows(self) -> list[tuple[str, str]]:
        """What of it the summary shows."""
        shown = self.image
        return [
            ("PLC: last part / result", f"{shown.seq} / {shown.result_code.name}"),
            ("PLC: score / threshold", f"{shown.score} / {shown.threshold} (x 10000)"),
            ("PLC: ready, NG alarm, fault", f"{shown.ready}, {shown.ng_alarm}, {shown.fault}"),
            ("PLC: alarms / heartbeat", f"{shown.alarm_count} / {shown.heartbeat} -> {self.later_heartbeat}"),
        ]


def read_plc(plc: PlcSettings, last: Verdict, timeout_s: float) -> PlcReading:
    """Read the block until it shows `last`, then until the heartbeat has moved on.

    Raises:
        Fault: the PLC cannot be read, or does not come to show it in time.
    """
    with ModbusTcpClient(plc.host, port=plc.port, timeout=timeout_s) as client:
        image = _read_until(client, plc, timeout_s, lambda found: found.seq == last.seq % _SEQ_MODULUS)
        later = _read_until(client, plc, timeout_s, lambda found: found.heartbeat != image.heartbeat)
    return PlcReading(image, later.heartbeat)


def plc_problems(reading: PlcReading, last: Verdict, ng_expected: bool) -> list[str]:
    """Everything in the registers that disagrees with the last verdict; empty when all is well."""
    shown = reading.image
    checks = [
        (shown.result_code is result_code(last.result), f"PLC shows result {shown.result_code.name}"),
        (shown.result_ok is (last.result is Result.OK), f"PLC shows result OK = {shown.result_ok}"),
        (shown.part_id == part_number(last.part_id), f"PLC shows part id {shown.part_id}"),
        (shown.score == scaled_score(last.score), f"PLC shows score {shown.score}"),
        (shown.ready, "PLC shows the line not ready"),
        (shown.ng_alarm is ng_expected, f"PLC shows NG alarm = {shown.ng_alarm}"),
    ]
    return [problem for holds, problem in checks if not holds]


def _read_until(
    client: ModbusTcpClient, plc: PlcSettings, timeout_s: float, holds: Callable[[LineImage], bool]
) -> LineImage:
    deadline = time.monotonic() + timeout_s
    while True:
        image = _read(client, plc)
        if holds(image):
            return image
        if time.monotonic() > deadline:
            raise Fault(
                "demo_plc_behind", f"the PLC's registers did not follow within {timeout_s:g} s: {image}"
            )
        time.sleep(_POLL_S)


def _read(client: ModbusTcpClient, plc: PlcSettings) -> LineImage:
    try:
        answer = client.read_holding_registers(
            image_address(plc.base, _INDEX), count=IMAGE_LENGTH, device_id=plc.unit
        )
    except ModbusException as error:
        raise Fault("demo_plc_unreadable", str(error)) from error
    if answer.isError():
        raise Fault("demo_plc_unreadable", str(answer))
    return decode_image(answer.registers)
