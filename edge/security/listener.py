"""TCP listeners whose newcomers are held until it is known who calls.

ZeroMQ tells that a connection was refused, but of one that fails before its keys were looked at it does not
tell whose it was, and it closes such a connection in less time than it takes to ask. So the kernel keeps what
a newcomer sends away from ZeroMQ, by a socket filter that accepted connections inherit, until `admit_bytes`:
the address is noted first, then the bytes come. (TCP sends them again after a fifth of a second, once a
connection.)
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Final

from alfa.errors import Fault
from edge.addresses import tcp_address

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # linux/asm-generic/socket.h; Python does not name them
_BACKLOG = 100
_INSTRUCTION = "HBBI"  # struct sock_filter: code, jump if true, jump if false, operand
_LOAD_BYTE, _LOAD_LENGTH, _AND, _SHIFT_RIGHT = 0x30, 0x80, 0x54, 0x74
_TO_X, _JUMP_IF_BITS, _JUMP_IF_EQUAL_X, _RETURN = 0x07, 0x45, 0x1D, 0x06
_FIN = 0x01
# Classic BPF on the TCP header: drop segments with data or FIN, let the rest (SYN, ACK, RST) through.
_NO_DATA: Final = (
    (_LOAD_BYTE, 0, 0, 13),  # flags
    (_JUMP_IF_BITS, 7, 0, _FIN),
    (_LOAD_BYTE, 0, 0, 12),  # length of the header in words of four bytes, in the upper half
    (_AND, 0, 0, 0xF0),
    (_SHIFT_RIGHT, 0, 0, 2),
    (_TO_X, 0, 0, 0),
    (_LOAD_LENGTH, 0, 0, 0),
    (_JUMP_IF_EQUAL_X, 0, 1, 0),
    (_RETURN, 0, 0, 0xFFFFFFFF),  # keep all of it
    (_RETURN, 0, 0, 0),  # drop
)


def listen(endpoint: str) -> socket.socket:
    """A listening socket for ZeroMQ (`zmq.USE_FD`); what callers send waits for `admit_bytes`.

    Args:
        endpoint: tcp://ADDRESS:PORT.

    Raises:
        Fault: the port is in use, or the address is not this host's.
    """
    address = tcp_address(endpoint)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _attach(listener)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Fault("endpoint_unusable", f"cannot bind {endpoint}: {error.strerror}") from error
    return listener


def accepted(descriptor: int) -> tuple[socket.socket, str, int]:
    """A second handle on a connection that ZeroMQ accepted, and its peer's address and port.

    Raises:
        OSError: the connection is gone.
    """
    connection = socket.socket(fileno=os.dup(descriptor))
    try:
        host, port = connection.getpeername()
    except (OSError, ValueError) as error:
        connection.close()
        raise OSError(f"no connection: {error}") from error
    return connection, str(host), int(port)


def admit_bytes(connection: socket.socket) -> None:
    """Let what the peer sends reach ZeroMQ from now on.

    Raises:
        OSError: the connection is gone.
    """
    connection.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _attach(listener: socket.socket) -> None:
    program = ctypes.create_string_buffer(b"".join(struct.pack(_INSTRUCTION, *step) for step in _NO_DATA))
    # struct sock_fprog: the number of instructions and a pointer to them.
    listener.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_DATA), ctypes.addressof(program))
    )
