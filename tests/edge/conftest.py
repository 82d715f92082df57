"""What tests of the line share: a short runtime directory, a config.toml, and receiving with a deadline."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.messages import Part
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
