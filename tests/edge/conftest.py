"""What tests of the line share: a short runtime directory, a config.toml, and receiving with a deadline."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from edge.messages import Part
from edge.plc.registers import (
    Control,
    LineImage,
    control_address,
    decode_image,
    encode_control,
    image_address,
)
from edge.settings import PlcSettings
from edge.sockets import Socket, receive

SYNTHETIC_LINE = """
[lines.line1]
prompts = "generic"
[lines.line1.source]
kind = "synthetic"
rate_hz = 100
width = 96
height = 64
"""


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A directory with a path short enough for unix sockets, which pytest's own is not always."""
    directory = Path(tempfile.mkdtemp(prefix="edge-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def systemd(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(runtime_dir / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(runtime_dir / "notify"))
        yield listener


@pytest.fixture
def write_config(runtime_dir: Path) -> Callable[..., Path]:
    """`write_config(text)` makes `config.toml` in the runtime directory and returns its path.

    Without text it describes `line1`, a fast and small synthetic line. Sockets go to `runtime_dir / "run"`,
    records to `runtime_dir / "var"` (the defaults, relative to the file).
    """

    def write(text: str = SYNTHETIC_LINE) -> Path:
        path = runtime_dir / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def receive_within() -> Callable[..., list[Part]]:
    """`receive_within(socket, seconds=10)` is the next message; fails when none comes in time."""

    def next_message(socket: Socket, seconds: float = 10.0) -> list[Part]:
        assert socket.poll(int(seconds * 1000)), f"no message within {seconds} s"
        message = receive(socket)
        assert message is not None
        return message

    return next_message


@pytest.fixture
def get_page() -> Callable[[int, str], tuple[int, str]]:
    """`get_page(port, path)` is the status and the text of a page of this machine."""

    def get(port: int, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return get


class StandInPlc:
    """A real Modbus TCP server in a process of its own, and the PLC's program as the test writes it."""

    def __init__(self, directory: Path) -> None:
        self._history = directory / "plc.jsonl"
        self._port = 0
        self.start()

    @property
    def settings(self) -> PlcSettings:
        """For whoever drives it."""
        return PlcSettings(port=self._port, base=100, heartbeat_ms=20)

    @property
    def table(self) -> str:
        """The same as text for config.toml."""
        return f"[plc]\nport = {self._port}\nbase = 100\nheartbeat_ms = 20\n"

    def start(self) -> None:
        """Start, or come back on the same port with all registers 0."""
        command = [sys.executable, "-m", "edge.plc.simulator", "--port", str(self._port)]
        self._process = subprocess.Popen(
            [*command, "--history", str(self._history)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline().split()
        assert ready[0] == "READY"
        self._port = int(ready[1])
        self._client = ModbusTcpClient("127.0.0.1", port=self._port)

    def stop(self) -> None:
        """Go away, as by a pulled cable."""
        self._client.close()  # type: ignore[no-untyped-call]
        self._process.kill()
        self._process.communicate()

    def image(self, index: int = 0) -> LineImage:
        """What a line shows now."""
        answer = self._client.read_holding_registers(image_address(100, index), count=15)
        return decode_image(answer.registers)

    def write(self, control: Control, index: int = 0) -> None:
        """Set a line's control block."""
        self._client.write_registers(control_address(100, index), encode_control(control))

    def wait_for(
        self, holds: Callable[[LineImage], bool], seconds: float = 10.0, index: int = 0
    ) -> LineImage:
        """Read until a line shows what is expected; fails when it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds(image := self.image(index)):
            assert time.monotonic() < deadline, f"still {image}"
        return image

    def history(self, index: int = 0) -> list[LineImage]:
        """Every image that was written for a line, in order."""
        return [
            decode_image(request["registers"])
            for request in self._requests()
            if request["address"] == image_address(100, index)
        ]

    def writes(self) -> list[tuple[int, LineImage]]:
        """Every image that was written for any line, and when (CLOCK_MONOTONIC), in order."""
        return [(request["mono_ns"], decode_image(request["registers"])) for request in self._requests()]

    def _requests(self) -> list[dict[str, Any]]:
        return [json.loads(request) for request in self._history.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[StandInPlc]:
    """A running stand-in for the PLC."""
    stand_in = StandInPlc(tmp_path)
    yield stand_in
    stand_in.stop()
