"""One Modbus TCP connection to the PLC: every way it can fail is a LinkError."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ModbusPDU

from edge.settings import PlcSettings


class LinkError(Exception):
    """The PLC cannot be reached, does not answer in time, or refuses a request."""


class _Client(ModbusTcpClient):
    """pymodbus waits anew for each piece of an answer; here all pieces of one answer share a deadline."""

    _PIECE = 4096

    def __init__(self, settings: PlcSettings) -> None:
        self._timeout_s = settings.timeout_ms / 1000
        self._deadline_s = 0.0
        super().__init__(settings.host, port=settings.port, timeout=self._timeout_s, retries=0)

    def send(self, request: bytes, addr: tuple[str, int] | None = None) -> int:
        """The time runs from here."""
        self._deadline_s = time.monotonic() + self._timeout_s
        return int(super().send(request, addr))

    def recv(self, size: int | None) -> bytes:
        """The next piece of an answer, of whatever size."""
        left_s = self._deadline_s - time.monotonic()
        if self.socket is None or left_s <= 0:
            raise ConnectionException(self._no_answer())
        self.socket.settimeout(left_s)
        try:
            piece = self.socket.recv(self._PIECE)
        except TimeoutError as error:
            raise ConnectionException(self._no_answer()) from error
        if not piece:
            raise ConnectionException("the PLC closed the connection")
        return piece

    def _no_answer(self) -> str:
        return f"no whole answer within {self._timeout_s * 1000:.0f} ms"


class Link:
    """An open connection; after a LinkError it is of no more use, because a late answer may still come.

    Connecting and every request take `timeout_ms` at most, however an answer trickles in: the host is an
    address, so that no name server can hold up either.

    Raises:
        LinkError: the PLC cannot be reached in `timeout_ms`.
    """

    def __init__(self, settings: PlcSettings) -> None:
        self._unit = settings.unit
        self._client = _Client(settings)
        # Says whether it is connected instead of raising; why it is not, it tells its log alone.
        if not self._client.connect():  # type: ignore[no-untyped-call]
            raise LinkError(f"no connection to {settings.host}:{settings.port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def write(self, address: int, registers: list[int]) -> None:
        """Write a block of holding registers in one request.

        Raises:
            LinkError: no answer in time, connection lost, refused, or another write confirmed.
        """
        try:
            answer = self._client.write_registers(address, registers, device_id=self._unit)
        except (ModbusException, OSError) as error:
            raise LinkError(str(error)) from error
        self._check(answer, "write", address)
        if (answer.address, answer.count) != (address, len(registers)):
            raise LinkError(f"the PLC confirms another write than that of {len(registers)} at {address}")

    def read(self, address: int, count: int) -> list[int]:
        """Read holding registers.

        Raises:
            LinkError: no answer in time, connection lost, refused, or another number of registers.
        """
        try:
            answer = self._client.read_holding_registers(address, count=count, device_id=self._unit)
        except (ModbusException, OSError) as error:
            raise LinkError(str(error)) from error
        self._check(answer, "read", address)
        if len(answer.registers) != count:
            raise LinkError(f"{len(answer.registers)} registers came for {count} at {address}")
        return list(answer.registers)

    def _check(self, answer: ModbusPDU, request: str, address: int) -> None:
        if answer.isError():
            raise LinkError(
                f"the PLC refuses to {request} holding register {address} of unit {self._unit}"
                f" (exception code {answer.exception_code})"
            )
