"""A Modbus TCP server that stands in for the PLC in demo and tests: holding registers without logic.

`python -m edge.plc.simulator --port N` prints `READY <port>` when it listens; port 0 takes a free one.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import IO, Annotated

import typer
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from alfa.cli.entry import run
from alfa.errors import Fault

_ANY_UNIT = 0
_REGISTERS = 65_536

app = typer.Typer(add_completion=False)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="TCP port; 0 for a free one.")] = 5020,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    registers: Annotated[
        int, typer.Option(min=1, max=_REGISTERS, help="Holding registers it has; others are refused.")
    ] = _REGISTERS,
    history: Annotated[
        Path | None, typer.Option(help="Write every request that sets registers there, one JSON a line.")
    ] = None,
) -> None:
    """Serve holding registers until SIGTERM."""
    if history is None:
        asyncio.run(_serve(host, port, registers, None))
        return
    # Line by line, so that whoever reads along sees each request when it has happened.
    with history.open("w", encoding="utf-8", buffering=1) as stream:
        asyncio.run(_serve(host, port, registers, stream))


def main() -> None:
    """Entry point of `python -m edge.plc.simulator`."""
    run(app)


async def _serve(host: str, port: int, registers: int, history: IO[str] | None) -> None:
    server = ModbusTcpServer(_device(registers, history), address=(host, port))
    # pymodbus tells why only in its log, which belongs to the application.
    if not await server.listen():
        raise Fault("endpoint_unusable", f"cannot listen on {host}:{port}; is the port in use?")
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    assert isinstance(server.transport, asyncio.Server)
    print(f"READY {server.transport.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
    await server.shutdown()  # type: ignore[no-untyped-call]


def _device(registers: int, history: IO[str] | None) -> SimDevice:
    async def note(
        function_code: int,
        start_address: int,
        address: int,
        count: int,
        current_registers: list[int],
        set_values: list[int] | list[bool] | None,
    ) -> None:
        if history is not None and set_values is not None:
            request = {"mono_ns": time.monotonic_ns(), "address": address, "registers": set_values}
            print(json.dumps(request), file=history)

    block = SimData(0, count=registers, values=0, datatype=DataType.REGISTERS)
    return SimDevice(id=_ANY_UNIT, simdata=[block], action=note)


if __name__ == "__main__":
    main()
