"""The processes of the demo as one table, and the commands that prepare it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from alfa.errors import Fault
from edge.processes import ProcessSpec, log_tail, script


def line_processes(config: Path, line: str, plc_port: int) -> tuple[ProcessSpec, ...]:
    """The whole system on a page, in the order of starting; the camera comes last and finds all listening."""
    return (
        ProcessSpec("plc", (sys.executable, "-m", "edge.plc.simulator", "--port", str(plc_port))),
        ProcessSpec("results", (script("edge-results"), "--config", str(config))),
        ProcessSpec("detector", (script("edge-detector"), "--config", str(config), "--name", "main")),
        ProcessSpec(
            "camera",
            (script("edge-camera"), "--config", str(config), "--line", line, "--wait-for-detector"),
        ),
    )


def run_command(name: str, command: tuple[str, ...], log_directory: Path) -> None:
    """Run one preparing command to its end.

    Raises:
        Fault: it ended with another exit code than 0; the end of its output is in the message.
    """
    log = log_directory / f"{name}.log"
    with log.open("wb") as stream:
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode  # noqa: S603
    if code != 0:
        raise Fault("demo_command_failed", f"{' '.join(command)} ended with {code}:\n{log_tail(log)}")
