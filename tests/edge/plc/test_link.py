"""The connection to a PLC that misbehaves: a TCP server of the test's own answers whatever it likes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.plc.link import Link, LinkError
from edge.settings import PlcSettings


@contextmanager
def answering(
    answer: Callable[[bytes], bytes], hangs_up: bool = True, timeout_ms: int = 50
) -> Iterator[PlcSettings]:
    """A server that answers the first request of each connection so, and then hangs up or falls silent."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(answer(connection.recv(300)))
                    if not hangs_up:
                        connection.recv(300)

        threading.Thread(target=serve, daemon=True).start()
        yield PlcSettings(port=server.getsockname()[1], timeout_ms=timeout_ms)
        server.shutdown(socket.SHUT_RDWR)


def test_nobody_listens() -> None:
    """Told with address and port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(LinkError, match=rf"no connection to 127\.0\.0\.1:{port}"):
            Link(PlcSettings(port=port))


def test_silence_ends_in_time() -> None:
    """A PLC that accepts and never answers costs one time-out."""
    with (
        answering(lambda _: b"", hangs_up=False) as plc,
        Link(plc) as link,
        pytest.raises(LinkError, match="no whole answer within 50 ms"),
    ):
        link.read(0, 4)


def test_trickling_answer_ends_in_time() -> None:
    """A piece that comes just before the deadline buys no further time."""

    def first_piece_late(request: bytes) -> bytes:
        threading.Event().wait(0.8)
        return request[:4]

    with answering(first_piece_late, hangs_up=False, timeout_ms=1000) as plc, Link(plc) as link:
        since = time.monotonic()
        with pytest.raises(LinkError, match="no whole answer within 1000 ms"):
            link.read(0, 4)
        assert time.monotonic() - since < 1.6


def test_confirmation_of_another_write_is_refused() -> None:
    """What is confirmed must be what was written: here another address."""

    def confirm_elsewhere(request: bytes) -> bytes:
        return request[:4] + b"\x00\x06" + request[6:8] + b"\x00\x09" + request[10:12]

    with (
        answering(confirm_elsewhere) as plc,
        Link(plc) as link,
        pytest.raises(LinkError, match="another write than that of 2 at 5"),
    ):
        link.write(5, [1, 2])


def test_too_few_registers_are_refused() -> None:
    """An answer to another question is not taken for this one's."""

    def answer_one(request: bytes) -> bytes:
        return request[:4] + b"\x00\x05" + request[6:8] + b"\x02\x00\x01"

    with (
        answering(answer_one) as plc,
        Link(plc) as link,
        pytest.raises(LinkError, match="1 registers came for 4 at 0"),
    ):
        link.read(0, 4)


@given(body=st.binary(max_size=24), well_framed=st.booleans())
def test_garbage_is_a_link_error(body: bytes, well_framed: bool) -> None:
    """Whatever bytes come back, framed as Modbus or not, nothing but a LinkError comes of it."""

    def answer(request: bytes) -> bytes:
        framed = request[:4] + (len(body) + 1).to_bytes(2, "big") + request[6:7] + body
        return framed if well_framed else body

    with answering(answer) as plc:
        try:
            with Link(plc) as link:
                assert len(link.read(0, 4)) == 4
        except LinkError:
            pass
