"""Whether a service of this box runs: what it uses is then not to be tried."""

from __future__ import annotations

import errno
import socket
from contextlib import closing

from edge.addresses import IPC, TCP

_TIMEOUT_S = 1.0


def is_elsewhere(endpoint: str) -> bool:
    """Whether an endpoint is of another machine."""
    return endpoint.startswith(TCP) and _bind_error(_host(endpoint), 0) == errno.EADDRNOTAVAIL


def is_served(endpoint: str) -> bool:
    """Whether somebody listens on an endpoint of this machine."""
    if endpoint.startswith(TCP):
        # Connecting would be counted and logged as a stranger's.
        port = int(endpoint.rpartition(":")[2])
        return _bind_error(_host(endpoint), port) == errno.EADDRINUSE
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(endpoint.removeprefix(IPC))
        except OSError:
            return False
    return True


def _host(endpoint: str) -> str:
    return endpoint.removeprefix(TCP).rpartition(":")[0]


def _bind_error(host: str, port: int) -> int:
    """Number of the error that binding gives; 0 where it works."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(0)
        except OSError as error:
            return error.errno or 0
    return 0
