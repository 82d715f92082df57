"""A plant with keys: every service on TCP ports of loopback, and strangers who would like to come in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
import zmq
from structlog.testing import capture_logs

from edge.security.credentials import Credentials
from edge.security.keys import KeyDirectory, Role
from edge.security.settings import (
    CameraNetwork,
    DetectorNetwork,
    NetworkSettings,
    ResultsNetwork,
    WatchNetwork,
)
from edge.sockets import Socket, Sockets


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_endpoint() -> str:
    """A TCP endpoint that nobody listens on now."""
    return f"tcp://127.0.0.1:{free_port()}"


class Plant:
    """Keys, endpoints, and sockets of services and of strangers; all are closed at the end of the test."""

    def __init__(self, keys: Path, stack: ExitStack) -> None:
        self.keys = KeyDirectory(keys)
        for name, role in (
            ("camera-a", Role.CAMERA),
            ("camera-b", Role.CAMERA),
            ("detector", Role.DETECTOR),
            ("results", Role.RESULTS),
            ("laptop", Role.SUBSCRIBER),
        ):
            self.keys.create(name, role)
        self.network = NetworkSettings(
            keys=keys,
            cameras={
                name: CameraNetwork(key=f"camera-{name}", frames=free_endpoint()) for name in ("a", "b")
            },
            detectors={
                "main": DetectorNetwork(
                    key="detector", verdicts=free_endpoint(), maps=free_endpoint(), replay=free_endpoint()
                )
            },
            results=ResultsNetwork(key="results", beats=free_endpoint()),
            watch=WatchNetwork(key="laptop"),
        )
        self._stack = stack
        # Held, or a stranger that a test forgets would be closed by the garbage collector.
        self._strangers: list[Socket] = []
        self._context = zmq.Context()
        stack.callback(self._context.destroy, linger=0)

    @property
    def frames(self) -> str:
        """Where camera a publishes."""
        return self.network.cameras["a"].frames

    @property
    def verdicts(self) -> str:
        """Where the detector publishes verdicts."""
        return str(self.network.detectors["main"].verdicts)

    @property
    def replay(self) -> str:
        """Where the detector answers."""
        return str(self.network.detectors["main"].replay)

    def sockets(self, role: Role, name: str = "") -> Sockets:
        """As the service of that role makes them."""
        credentials = Credentials.load(self.network, role, name)
        return self._stack.enter_context(Sockets(credentials, structlog.stdlib.get_logger()))

    def stranger(self, kind: int, own: str | None = None, server: str | None = None) -> Socket:
        """A bare ZeroMQ socket, as anybody may write one.

        Args:
            kind: of socket.
            own: name of the key that it has; "?" for one that it made itself.
            server: name of the service that it believes to speak to; None: it has heard of no keys.
        """
        made: Socket = self._context.socket(kind)
        self._strangers.append(made)
        made.setsockopt(zmq.LINGER, 0)
        if own is not None:
            public, secret = (
                zmq.curve_keypair()
                if own == "?"
                else (self.keys.certificate(own).key, (self.keys.path / f"{own}.key").read_bytes().strip())
            )
            made.curve_publickey, made.curve_secretkey = public, secret
        if server is not None:
            made.curve_serverkey = self.keys.certificate(server).key
        if kind == zmq.SUB:
            made.subscribe(b"")
        return made


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """Two cameras, a detector, results and a laptop, each with a key."""
    with ExitStack() as stack:
        yield Plant(tmp_path / "keys", stack)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What was logged so far."""
    with capture_logs() as entries:
        yield entries
