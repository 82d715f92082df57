"""Where something is to be reached, as settings say it: HOST:PORT, or a ZeroMQ endpoint."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

# What an endpoint begins with.
IPC, TCP = "ipc://", "tcp://"
_LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a TCP server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `127.0.0.1:9460`, `localhost:9460` or `[::1]:9460`.

        Raises:
            ValueError: anything else; says what is expected.
        """
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        address = cls(host or "", port or 0)
        if not host or not port or str(address) != text.lower():
            raise ValueError(f"write HOST:PORT with a port from 1 to {_LARGEST_PORT}, such as 127.0.0.1:9460")
        return address

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; of a name other than localhost that is not known."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def family(self) -> socket.AddressFamily:
        """Of a socket that listens there."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def tcp_address(endpoint: str) -> Address:
    """Of a ZeroMQ endpoint, tcp://HOST:PORT.

    Raises:
        ValueError: it is none.
    """
    if not endpoint.startswith(TCP):
        raise ValueError(f"write {TCP}HOST:PORT")
    return Address.parse(endpoint.removeprefix(TCP))
