"""Whether a service of this box runs: what it uses is then not to be tried."""

from __future__ import annotations

import errno
import socket
from contextlib import closing

from edge.addresses import IPC, TCP, Address, tcp_address

_TIMEOUT_S = 1.0


def is_elsewhere(endpoint: str) -> bool:
    """Whether an endpoint is of another machine."""
    if not endpoint.startswith(TCP):
        return False
    any_port = Address(tcp_address(endpoint).host, 0)
    return _error_of_listening(any_port) == errno.EADDRNOTAVAIL


def is_served(endpoint: str) -> bool:
    """Whether somebody listens on an endpoint of this machine."""
    if endpoint.startswith(TCP):
        # Connecting would be counted and logged as a stranger's.
        return _error_of_listening(tcp_address(endpoint)) == errno.EADDRINUSE
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(endpoint.removeprefix(IPC))
        except OSError:
            return False
    return True


def try_to_listen(address: Address) -> None:
    """Listen for a moment.

    Raises:
        OSError: the port is taken, or the address is none of this machine's.
    """
    with closing(socket.socket(address.family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address.host, address.port))
        probe.listen(0)


def _error_of_listening(address: Address) -> int:
    """Number of the error; 0 where it works."""
    try:
        try_to_listen(address)
    except OSError as error:
        return error.errno or 0
    return 0
