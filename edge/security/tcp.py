"""TCP for the line's sockets: nothing is bound or connected without keys."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import structlog
import zmq

from alfa.errors import BadInput
from edge.addresses import TCP
from edge.security.credentials import Credentials
from edge.security.guard import Call, Guard
from edge.security.listener import listen

_Socket: TypeAlias = zmq.Socket[bytes]

# A host that answers no more is let go, by TCP itself: ZeroMQ's own heartbeat ends the process where a
# connection breaks whose messages wait to be read.
_KEEPALIVE_S, _KEEPALIVES = 1, 2
# So is one that takes nothing of what is sent to it, and a peer that does not come to its point.
_UNTAKEN_MS, _HANDSHAKE_MS = 30_000, 5000
_CALL_AGAIN_S = 1.0


class SecureTcp:
    """Keys and guard of one process's TCP sockets; used from their thread.

    Args:
        context: of the sockets.
        credentials: of the service; without them every TCP endpoint is refused.
        log: where the guard tells whom it lets in and refuses.
    """

    def __init__(
        self,
        context: zmq.Context[_Socket],
        credentials: Credentials | None,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self._context = context
        self._credentials = credentials
        self._log = log
        # Only a process with TCP sockets has one.
        self._guard: Guard | None = None
        self._not_reloaded = 0
        self._server_keys: dict[str, bytes] = {}
        self._calls: list[tuple[float, Call]] = []

    def open_door(self, socket: _Socket, endpoint: str) -> None:
        """Prepare a socket to be bound to the endpoint and to let in those with the right keys alone.

        Raises:
            BadInput: there are no keys for it.
            Fault: the port is in use, or the address is not this host's.
        """
        credentials = self._credentials_for(endpoint)
        door = credentials.bound_as(endpoint)
        guard = self._on_guard(credentials)
        _show_keys(socket, credentials)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.TCP_MAXRT, _UNTAKEN_MS)
        socket.setsockopt_string(zmq.ZAP_DOMAIN, door)
        # Else everybody who knows the server's public key is let in while nobody answers for the domain.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        listener = listen(endpoint)
        guard.watch_door(socket, door)
        socket.setsockopt(zmq.USE_FD, listener.detach())

    def call(self, socket: _Socket, endpoints: Sequence[str]) -> None:
        """Connect a socket to endpoints whose services prove to have the keys that they are known by.

        Args:
            socket: connected to none so far but over ipc.
            endpoints: one or more.

        Raises:
            BadInput: there are no keys for one of them.
        """
        credentials = self._credentials_for(endpoints[0])
        for endpoint in endpoints:
            self._server_keys[endpoint] = credentials.server_key(endpoint)
        _show_keys(socket, credentials)
        self._on_guard(credentials).watch_calls(socket)
        for endpoint in endpoints:
            self._connect(socket, endpoint)

    def tend(self) -> None:
        """Call again where ZeroMQ gave up, as it does when a peer fails to prove itself: a stranger may have
        answered in its place, or its keys may be right by now. Never blocks.

        Raises:
            Exception: whatever ended the guard, without whom nobody is let in.
        """
        if self._guard is None:
            return
        now_s = time.monotonic()
        self._calls += [(now_s + _CALL_AGAIN_S, call) for call in self._guard.take_given_up()]
        due = [call for at_s, call in self._calls if at_s <= now_s]
        self._calls = [(at_s, call) for at_s, call in self._calls if at_s > now_s]
        for call in due:
            if not call.socket.closed:
                with contextlib.suppress(zmq.ZMQError):  # ZeroMQ may have forgotten it by itself
                    call.socket.disconnect(call.endpoint)
                self._connect(call.socket, call.endpoint)

    def reload_keys(self) -> None:
        """Read anew who may come in; where a key cannot be taken, the old list stays and the log says so.

        Where a key was revoked, all connections that came in are ended. Those that may still be here come
        back by themselves; what was under way to them is told as lost, or asked for again, as after any cut.
        Where none was revoked nobody is disturbed.
        """
        if self._credentials is None:
            return
        try:
            revoked = self._credentials.reload()
        except BadInput as error:
            self._not_reloaded += 1
            self._log.error("keys_not_reloaded", detail=str(error))
            return
        self._log.info("keys_reloaded", revoked=revoked)
        if revoked and self._guard is not None:
            self._guard.cut_all()

    def counters(self) -> Mapping[str, int]:
        """For the beat: callers refused, calls of ours that failed, refused reloads; nothing without TCP."""
        if self._guard is None:
            return {}
        return {
            "peers_refused": self._guard.refused,
            "handshakes_failed": self._guard.failed,
            "keys_not_reloaded": self._not_reloaded,
        }

    def stop(self, made: Sequence[_Socket]) -> None:
        """End the guard; then no socket may be used any more.

        Args:
            made: all sockets of the context.
        """
        if self._guard is None:
            return
        for socket in made:
            if not socket.closed:
                # ZeroMQ would wait for ever for a guard that is gone to listen.
                socket.monitor(None, 0)
        self._guard.stop()

    def _connect(self, socket: _Socket, endpoint: str) -> None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._server_keys[endpoint])
        socket.connect(endpoint)

    def _credentials_for(self, endpoint: str) -> Credentials:
        if not endpoint.startswith(TCP):
            raise BadInput(endpoint, "", None, "is neither ipc:// nor tcp://")
        if self._credentials is None:
            raise BadInput(
                endpoint,
                "",
                None,
                "TCP needs keys; name this service's in [network] (`edge-keys new` makes them)",
            )
        return self._credentials

    def _on_guard(self, credentials: Credentials) -> Guard:
        if self._guard is None:
            self._guard = Guard(self._context, credentials, self._log)
        return self._guard


def _show_keys(socket: _Socket, credentials: Credentials) -> None:
    socket.setsockopt(zmq.CURVE_PUBLICKEY, credentials.own.certificate.key)
    socket.setsockopt(zmq.CURVE_SECRETKEY, credentials.own.secret.get_secret_value().encode())
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _KEEPALIVES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
