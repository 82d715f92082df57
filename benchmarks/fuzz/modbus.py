"""A PLC that answers one request with whatever it is told to, and the real link that has to bear it."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from benchmarks.fuzz.mutations import Message
from edge.background import in_background
from edge.plc.link import Link
from edge.settings import PlcSettings

_ADDRESS, _REGISTERS = 1000, [1, 0, 0, 7]
_READ, _WRITE = 3, 16
_SHORTEST_MS = 20
_REQUEST_BYTES = 260  # the longest Modbus frame
_FIRST_TRANSACTION = 1


class Answering:
    """A server on a free port of this machine; a message is `[b"r" or b"w", answer]`.

    Attributes:
        seeds: the right answers to the two requests.
    """

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._answer = b""
        self._plc = PlcSettings(port=self._server.getsockname()[1], timeout_ms=_SHORTEST_MS)
        registers = struct.pack(f">B{len(_REGISTERS)}H", 2 * len(_REGISTERS), *_REGISTERS)
        self.seeds: list[Message] = [
            [b"r", _frame(_READ, registers)],
            [b"w", _frame(_WRITE, struct.pack(">HH", _ADDRESS, len(_REGISTERS)))],
            [b"r", _frame(_READ | 0x80, b"\x02")],
        ]
        in_background("answering", self._serve)

    def decode(self, message: Message) -> list[int] | None:
        """Ask, be answered with the message, and say what was read."""
        self._answer = b"".join(message[1:])
        with Link(self._plc) as link:
            if message[:1] == [b"w"]:
                link.write(_ADDRESS, _REGISTERS)
                return None
            return link.read(_ADDRESS, len(_REGISTERS))

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            # The link may have given up.
            with connection, suppress(OSError):
                connection.recv(_REQUEST_BYTES)
                connection.sendall(self._answer)


def _frame(function: int, content: bytes) -> bytes:
    """An answer of unit 1, as Modbus TCP frames it."""
    return struct.pack(">HHHBB", _FIRST_TRANSACTION, 0, 2 + len(content), 1, function) + content
