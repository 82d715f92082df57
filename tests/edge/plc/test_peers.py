"""The driver on two Modbus servers that share no code with ours: libmodbus, and npm's modbus-serial.

What the registers hold is asked of the server's own process, not of a Modbus client of ours. The server of
libmodbus is compiled here (gcc, libmodbus-dev); modbus-serial is looked for in tests/peers/node_modules,
where `make peers` puts it, or in the node_modules directory that MODBUS_PEERS_NODE_MODULES names.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.messages import FaultCode
from edge.plc.driver import PlcDriver, Telegram
from edge.plc.events import (
    Acknowledged,
    Connected,
    Disconnected,
    EchoBack,
    EchoLost,
    PauseAsked,
    ServiceHung,
)
from edge.plc.registers import (
    IMAGE_LENGTH,
    Control,
    LineImage,
    ResultCode,
    control_address,
    decode_image,
    encode_control,
    image_address,
    is_safe,
)
from edge.settings import PlcSettings
from tests.edge.plc.driving import driven, fed_until, next_event

PEERS = Path(__file__).parents[2] / "peers"
BASE = 200
LINES = {"bottle": 0, "cap": 30}
SHOWN = LineImage(
    ready=True,
    busy=True,
    result_valid=True,
    ng_alarm=True,
    camera_alive=True,
    detector_alive=True,
    toggle=1,
    seq=0x0001_0002,
    part_id=0xDEAD_BEEF,
    result_code=ResultCode.NG,
    score=7312,
    threshold=5000,
    recipe=12,
    judged_ms=48,
    alarm_count=3,
)


class Peer:
    """A server's process and its commands."""

    def __init__(self, command: list[str], environment: dict[str, str], registers: int) -> None:
        self._command = command
        self._environment = {**os.environ, **environment}
        self._registers = registers
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        self.start()

    @property
    def settings(self) -> PlcSettings:
        """For whoever drives it."""
        return PlcSettings(port=self.port, base=BASE, heartbeat_ms=20, timeout_ms=1000, echo_timeout_ms=200)

    def start(self) -> None:
        """With all registers 0."""
        self._process = subprocess.Popen(
            [*self._command, str(self.port), str(self._registers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        assert self._answer() == "READY"

    def stop(self) -> None:
        """As by a pulled plug."""
        self._process.kill()
        self._process.communicate()

    def image(self, line: str) -> LineImage:
        """What a line's block holds."""
        registers = self._ask(f"get {image_address(BASE, LINES[line])} {IMAGE_LENGTH}")
        return decode_image([int(word) for word in registers.split()])

    def control(self, line: str, control: Control) -> None:
        """What the PLC's program writes into a line's control block."""
        words = " ".join(map(str, encode_control(control)))
        assert self._ask(f"set {control_address(BASE, LINES[line])} {words}") == "ok"

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


def libmodbus(directory: Path) -> tuple[list[str], dict[str, str]]:
    """Command and environment of the server in C."""
    for program in ("gcc", "pkg-config"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}; on Debian: apt install gcc pkg-config libmodbus-dev")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True)
    if flags.returncode:
        pytest.skip("no libmodbus; on Debian: apt install libmodbus-dev")
    server = directory / "libmodbus_server"
    source = PEERS / "libmodbus_server.c"
    subprocess.run(["gcc", "-Wall", "-Werror", "-o", server, source, *flags.stdout.split()], check=True)
    return [str(server)], {}


def modbus_serial(_directory: Path) -> tuple[list[str], dict[str, str]]:
    """Command and environment of the server in JavaScript."""
    if shutil.which("node") is None:
        pytest.skip("no node; see https://nodejs.org, or apt install nodejs npm")
    modules = Path(os.environ.get("MODBUS_PEERS_NODE_MODULES", PEERS / "node_modules"))
    if not (modules / "modbus-serial").is_dir():
        pytest.skip(f"no modbus-serial in {modules}; run `make peers`, or set MODBUS_PEERS_NODE_MODULES")
    return ["node", str(PEERS / "modbus_serial_server.js")], {"NODE_PATH": str(modules)}


@pytest.fixture(scope="module", params=[libmodbus, modbus_serial])
def make_peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Peer]:
    """`make_peer(registers)` is a running server with so many holding registers."""
    command, environment = request.param(tmp_path_factory.mktemp("peer"))
    return lambda registers: Peer(command, environment, registers)


@pytest.fixture
def peer(make_peer: Callable[[int], Peer]) -> Iterator[Peer]:
    """With as many registers as the last line needs."""
    made = make_peer(control_address(BASE, 30) + 4)
    yield made
    made.stop()


@pytest.fixture
def driver(peer: Peer) -> Iterator[PlcDriver]:
    """Connected and resumed."""
    with driven(peer, LINES) as started:
        assert next_event(started) == Connected(again=False)
        started.resume()
        yield started


def test_every_register_arrives(driver: PlcDriver, peer: Peer) -> None:
    """Of the first and the last line, as the server itself holds them."""
    other = dataclasses.replace(SHOWN, seq=0xFFFF_FFFF, result_ok=True, result_code=ResultCode.OK)
    driver.tell("bottle", Telegram(SHOWN))
    driver.tell("cap", Telegram(other))
    # Of the two, this one is written last.
    fed_until(driver, lambda: peer.image("cap").seq == other.seq)
    shown = [dataclasses.replace(peer.image(line), heartbeat=0) for line in LINES]
    assert shown == [SHOWN, other]


def test_what_the_program_writes_arrives(driver: PlcDriver, peer: Peer) -> None:
    """Acknowledge on its edge, with what had been shown, and pause as a level."""
    driver.tell("cap", Telegram(SHOWN, ng_events=3, fault_events=1))
    fed_until(driver, lambda: peer.image("cap").ng_alarm)
    peer.control("cap", Control(acknowledge=1))
    assert next_event(driver) == Acknowledged("cap", 3, 1)
    peer.control("cap", Control(acknowledge=1, pause=1))
    assert next_event(driver) == PauseAsked("cap", True)


def test_program_that_stops_is_noticed(driver: PlcDriver, peer: Peer) -> None:
    """Its copy of the heartbeat stands still, then moves."""
    fed_until(driver, lambda: peer.image("bottle").heartbeat > 1)
    peer.control("bottle", Control(echo=1))
    assert next_event(driver) == EchoLost("bottle")
    peer.control("bottle", Control(echo=peer.image("bottle").heartbeat))
    assert next_event(driver) == EchoBack("bottle")


def test_hang_is_a_safe_state_on_every_line(driver: PlcDriver, peer: Peer) -> None:
    """Nobody feeds the driver: no line is ready, and the heartbeat stands still."""
    for line in LINES:
        driver.show(line, Telegram(SHOWN))
    fed_until(driver, lambda: all(peer.image(line).ready for line in LINES))
    deadline = time.monotonic() + 15
    while not all(is_safe(peer.image(line)) for line in LINES):
        assert time.monotonic() < deadline
    assert {peer.image(line).heartbeat for line in LINES} == {peer.image("cap").heartbeat}
    assert next_event(driver) == ServiceHung()


def test_server_that_restarts_is_told_the_safe_state_first(driver: PlcDriver, peer: Peer) -> None:
    """It had forgotten everything."""
    driver.show("bottle", Telegram(SHOWN))
    fed_until(driver, lambda: peer.image("bottle").ready)
    peer.stop()
    assert isinstance(next_event(driver), Disconnected)
    peer.start()
    assert next_event(driver) == Connected(again=True)
    assert is_safe(peer.image("bottle"))
    driver.resume()
    fed_until(driver, lambda: peer.image("bottle").ready)


def test_orderly_end_leaves_the_safe_state(driver: PlcDriver, peer: Peer) -> None:
    """The last word on every line."""
    for line in LINES:
        driver.show(line, Telegram(SHOWN))
    fed_until(driver, lambda: all(peer.image(line).ready for line in LINES))
    driver.stop()
    for line in LINES:
        assert is_safe(peer.image(line))
        assert peer.image(line).fault_code == FaultCode.RESULTS_LOST


def test_missing_registers_are_told(make_peer: Callable[[int], Peer]) -> None:
    """The server's own refusal arrives in words."""
    peer = make_peer(500)
    with driven(peer, LINES) as driver:
        event = next_event(driver)
    peer.stop()
    assert event == Disconnected(
        f"the PLC refuses to read holding register {control_address(BASE, 0)} of unit 1 (exception code 2)"
    )
