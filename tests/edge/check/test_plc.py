"""The PLC check against a real Modbus server: reach, read, write, and change nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.check.findings import Outcome
from edge.check.plc import check_plc
from edge.processes import free_port
from edge.settings import load_settings
from edge.sockets import BEAT_HWM, Sockets

if TYPE_CHECKING:
    from tests.edge.conftest import StandInPlc

LINE = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'


def test_registers_are_written_with_what_they_hold(
    write_config: Callable[..., Path], plc: StandInPlc
) -> None:
    """The one write is seen by the PLC, and changes nothing."""
    before = plc.image()
    found = list(check_plc(load_settings(write_config(plc.table + LINE))))
    assert [(each.check, each.outcome) for each in found] == [
        ("plc", Outcome.OK),
        ("plc registers", Outcome.OK),
    ]
    assert "registers 100 to 114 can be read and written" in found[1].detail
    assert plc.history() == [before]


def test_nothing_is_written_beside_a_running_service(
    write_config: Callable[..., Path], plc: StandInPlc
) -> None:
    """Between its heartbeats ours would be an old one."""
    settings = load_settings(write_config(plc.table + LINE))
    with Sockets() as sockets:
        sockets.publisher(settings.results_endpoint(), BEAT_HWM)
        found = list(check_plc(settings))
    assert found[1].detail == "readable; edge-results runs and writes them"
    assert plc.history() == []


def test_nobody_listens(write_config: Callable[..., Path]) -> None:
    """One failure that names the address."""
    port = free_port()
    (found,) = check_plc(load_settings(write_config(f"[plc]\nport = {port}\n{LINE}")))
    assert (found.outcome, found.subject) == (Outcome.FAIL, f"127.0.0.1:{port}")
    assert "check address, port" in found.advice


def test_registers_that_the_plc_refuses(write_config: Callable[..., Path]) -> None:
    """It answers, but has no such registers: the line fails and not the connection."""
    command = [sys.executable, "-m", "edge.plc.simulator", "--port", "0", "--registers", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[1])
        try:
            settings = load_settings(write_config(f"[plc]\nport = {port}\nbase = 100\n{LINE}"))
            found = list(check_plc(settings))
        finally:
            server.kill()
    assert [each.outcome for each in found] == [Outcome.OK, Outcome.FAIL]
    assert "refuses to read holding register 100" in found[1].detail
    assert "edge-results plc-map" in found[1].advice


def test_without_a_plc_nothing_is_missing(write_config: Callable[..., Path]) -> None:
    """A box may record without driving one."""
    (found,) = check_plc(load_settings(write_config(LINE)))
    assert found.outcome is Outcome.OK
