"""Whether an endpoint's service runs, told without disturbing it."""

from __future__ import annotations

import socket
from contextlib import closing

from edge.check.running import is_elsewhere, is_served
from edge.processes import free_port


def test_tcp_endpoints_of_this_machine() -> None:
    """Served while somebody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert (is_served(endpoint), is_elsewhere(endpoint)) == (True, False)
    assert not is_served(f"tcp://127.0.0.1:{free_port()}")


def test_tcp_endpoint_of_another_machine() -> None:
    """An address that is none of ours (of the range for documents)."""
    assert is_elsewhere("tcp://192.0.2.1:5555")
    assert not is_served("tcp://192.0.2.1:5555")


def test_ipc_endpoint_is_here() -> None:
    """Nobody listens where there is no socket."""
    assert not is_elsewhere("ipc:///nowhere/camera.sock")
    assert not is_served("ipc:///nowhere/camera.sock")
