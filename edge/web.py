"""A service's HTTP pages for whoever watches it: /metrics, /healthz, /readyz. They change nothing.

Served on threads of their own from the last beats, so that neither a slow reader nor many of them hold up the
work loop, and a loop that is stuck is told by a page that still answers.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from threading import BoundedSemaphore
from types import TracebackType
from typing import Self, TypeAlias

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from alfa.errors import BadInput, Fault
from edge.addresses import Address
from edge.background import in_background
from edge.health import Health
from edge.heart import ServiceName
from edge.metric_samples import ServiceCollector

_MOST_AT_ONCE = 8
_TIMEOUT_S = 5.0
_LONGEST_S = 10.0  # whole requests, also of one who sends a byte now and then
_LOOKS_FOR_STOP_S = 0.1
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = _PLAIN


_Request: TypeAlias = socket.socket | tuple[bytes, socket.socket]
Route: TypeAlias = Callable[[str], Page]


class Pages:
    """The pages of one service, from `serve` until the with-block is left.

    The port is taken at once, so that one which is taken already is told before any work begins.

    Args:
        listen: HOST:PORT; empty: nothing is served.
        config: the file that says so.
        key: in it.
        log: hears of an address that other machines can reach.

    Raises:
        BadInput: the port cannot be listened on.
        Fault: the address is none of this machine at the moment.
    """

    def __init__(self, listen: str, config: Path, key: str, log: structlog.stdlib.BoundLogger) -> None:
        self._server: _Server | None = None
        if not listen:
            return
        address = Address.parse(listen)
        self._server = _bound(address, config, key, log)
        if not address.is_loopback:
            log.warning(
                "http_open_to_network",
                address=str(address),
                detail="anybody who reaches it can read counters, states and names of lines",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def port(self) -> int:
        """On which it listens; 0 where nothing is served."""
        return 0 if self._server is None else int(self._server.server_port)

    def serve(self, service: ServiceName, health: Health) -> None:
        """Answer from now on."""
        if self._server is not None:
            self._server.start(routes(service, health))


def routes(service: ServiceName, health: Health) -> Mapping[str, Route]:
    """Path to page; a route is given the request's Accept header."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service, health))
    ProcessCollector(registry=registry)

    def metrics(accept: str) -> Page:
        encode, content_type = _encoder(accept)
        return Page(HTTPStatus.OK, encode(registry), content_type)

    return {
        "/metrics": metrics,
        "/healthz": lambda accept: _said(health.is_alive, [f"work loop silent {health.silence_s:.1f} s"]),
        "/readyz": lambda accept: _said(health.is_ready, health.lines()),
    }


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Of the format that the reader prefers; the plain one where it says so in a way that is none."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # of a version that is no number
        return choose_encoder("")


def _said(holds: bool, lines: Iterable[str]) -> Page:
    status = HTTPStatus.OK if holds else HTTPStatus.SERVICE_UNAVAILABLE
    text = "\n".join(["ok" if holds else "not ok", *lines, ""])
    return Page(status, text.encode("utf-8", "replace"))


def _bound(address: Address, config: Path, key: str, log: structlog.stdlib.BoundLogger) -> _Server:
    try:
        return _Server(address, log)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRNOTAVAIL:
            # An interface that is not up yet looks the same; a restart may mend that.
            detail = f"{key} {address} cannot be listened on ({reason}); is it an address of this machine?"
            raise Fault("endpoint_unusable", detail) from error
        advice = f"cannot be listened on ({reason}); free the port or name another one"
        raise BadInput(config, key, str(address), advice) from error


class _Server(ThreadingHTTPServer):
    """At most so many requests at once, each of bounded length and patience; one more is hung up on."""

    daemon_threads = True
    # TCP tries again after a second only where there is no room to wait.
    request_queue_size = 4 * _MOST_AT_ONCE

    def __init__(self, address: Address, log: structlog.stdlib.BoundLogger) -> None:
        self.address_family = address.family
        self.routes: Mapping[str, Route] = {}
        self._log = log
        self._slots = BoundedSemaphore(_MOST_AT_ONCE)
        self._since_s: dict[_Request, float] = {}  # of the requests that are being answered
        self._serving = False
        super().__init__((address.host, address.port), _Handler)

    def start(self, routes: Mapping[str, Route]) -> None:
        """Answer from now on."""
        self.routes = routes
        self._serving = True
        in_background("http", partial(self.serve_forever, _LOOKS_FOR_STOP_S))

    def stop(self) -> None:
        """Answer no more."""
        if self._serving:
            self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        """As `http.server`'s, without its look-up of our own name, which may wait for a DNS server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: _Request, client_address: object) -> None:
        """On a thread of its own, if one is free."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._since_s[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except BaseException:
            # No thread could be started to give it back.
            self._give_back(request)
            raise

    def process_request_thread(self, request: _Request, client_address: object) -> None:
        """The thread's work; its slot is free afterwards, however it ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._give_back(request)

    def service_actions(self) -> None:
        """Hang up on those that take too long; called some times a second."""
        oldest_s = time.monotonic() - _LONGEST_S
        for request, since_s in self._since_s.copy().items():
            if since_s < oldest_s and isinstance(request, socket.socket):
                with contextlib.suppress(OSError):  # gone by itself
                    request.shutdown(socket.SHUT_RDWR)

    def _give_back(self, request: _Request) -> None:
        del self._since_s[request]
        self._slots.release()

    def handle_error(self, request: _Request, client_address: object) -> None:
        """A reader that hung up is no event of the line; everything else is a bug of these pages."""
        if not isinstance(sys.exception(), OSError):
            self._log.error("http_failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """GET of the known paths; everything else is refused by `http.server`."""

    server: _Server
    timeout = _TIMEOUT_S
    server_version = "alfa-inspector"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one request."""
        route = self.server.routes.get(self.path.partition("?")[0])
        if route is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        page = route(self.headers.get("Accept", ""))
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds would fill the log of the line."""
