"""Between the results service and its PLC: a wire that can be cut, held up, or answer nonsense."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Self

from edge.background import in_background
from edge.processes import free_port

_CHUNK_BYTES = 4096
_SLOW_S = 0.1
_GARBAGE_BYTES = 64


class Wire(StrEnum):
    """What becomes of the PLC's answers."""

    WHOLE = "whole"
    CUT = "cut"
    SILENT = "silent"
    SLOW = "slow"
    GARBLED = "garbled"


class PlcProxy:
    """A TCP proxy on a thread of its own.

    Args:
        plc_port: where the PLC listens on this machine.

    Attributes:
        port: where the proxy does.
    """

    def __init__(self, plc_port: int) -> None:
        self.port = free_port()
        self._plc_port = plc_port
        self._wire = Wire.WHOLE
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()

    def __enter__(self) -> Self:
        self._running = in_background("plc-proxy", lambda: self._loop.run_until_complete(self._serve()))
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._running.result(timeout=10)
        self._loop.close()

    def be(self, wire: Wire) -> None:
        """From now on; a cut closes what is open and takes no new connection."""
        self._loop.call_soon_threadsafe(self._become, wire)

    def _become(self, wire: Wire) -> None:
        self._wire = wire
        if wire is Wire.CUT:
            for writer in self._writers:
                writer.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        await self._stopped.wait()
        server.close()
        self._become(Wire.CUT)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._wire is Wire.CUT:
            writer.close()
            return
        with suppress(OSError):
            plc_reader, plc_writer = await asyncio.open_connection("127.0.0.1", self._plc_port)
            self._writers |= {writer, plc_writer}
            await asyncio.gather(
                self._pump(reader, plc_writer, lambda chunk: chunk), self._answers(plc_reader, writer)
            )

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pump(reader, writer, self._spoilt, held=True)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        change: Callable[[bytes], bytes],
        held: bool = False,
    ) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                if held and self._wire is Wire.SLOW:
                    await asyncio.sleep(_SLOW_S)
                writer.write(change(chunk))
                await writer.drain()
        except OSError:
            # The other side has gone, or this one was cut.
            return
        finally:
            writer.close()
            self._writers.discard(writer)

    def _spoilt(self, answer: bytes) -> bytes:
        if self._wire is Wire.SILENT:
            return b""
        return random.randbytes(_GARBAGE_BYTES) if self._wire is Wire.GARBLED else answer  # noqa: S311
