"""Whether a service of this box runs: what it uses is then not to be tried."""

from __future__ import annotations

import socket
from contextlib import closing

_IPC = "ipc://"
_TIMEOUT_S = 1.0


def is_served(endpoint: str) -> bool:
    """Whether somebody listens on an ipc endpoint; False for others."""
    if not endpoint.startswith(_IPC):
        return False
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(_TIMEOUT_S)
        try:
            probe.connect(endpoint.removeprefix(_IPC))
        except OSError:
            return False
    return True
