"""The guard of a process's TCP sockets: a thread that answers ZeroMQ's question who may come in (ZAP,
https://rfc.zeromq.org/spec/27), and follows who came and who failed.

Refused is everybody without a key, with a key that nobody knows, and with a key of a role that has no
business at this door; before any of its messages is read. Each is counted and logged with its address.
"""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

import structlog
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from edge.addresses import TCP
from edge.background import in_background
from edge.rate_limited_log import RateLimitedLog
from edge.security.credentials import Credentials, NotLetIn
from edge.security.doors import Door
from edge.security.listener import accepted, admit_bytes

_Socket: TypeAlias = zmq.Socket[bytes]

_ZAP = "inproc://zeromq.zap.01"
_ZAP_VERSION = b"1.0"
_ZAP_FRAMES = 7  # version, request, domain, address, identity, mechanism, and the one credential of CURVE
_POLL_MS = 500
_STOP_S = 5.0
# At one door, of one host and in all: strangers, of however many addresses, cannot take all the descriptors
# that the process may have (8192 in our units, 1024 elsewhere as a rule; each caller takes two).
MOST_CALLERS_OF_A_HOST, MOST_CALLERS = 32, 128
# The log tells hosts apart, but not without end.
_MOST_HOSTS_TOLD = 256
_FAILED: Final = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
# ZeroMQ calls again by itself after everything else.
_GIVEN_UP: Final = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_DOOR_EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | _FAILED | zmq.EVENT_MONITOR_STOPPED
_CALL_EVENTS: Final = _FAILED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_MONITOR_STOPPED


@dataclass(frozen=True, slots=True)
class Call:
    """A connection of ours that ZeroMQ has given up, and that must be made anew."""

    socket: _Socket
    endpoint: str


@dataclass(slots=True)
class _Caller:
    """A connection that came in; held until ZeroMQ tells its end, or its descriptor might be another's."""

    connection: socket.socket
    host: str
    port: int
    told: bool = False  # that it is refused


@dataclass(slots=True)
class _DoorWatch:
    """One bound socket and who is connected to it, by descriptor."""

    door: Door
    callers: dict[int, _Caller] = field(default_factory=dict)
    failed: bool = False  # the next connection to end is one that failed

    def callers_of(self, host: str) -> int:
        return sum(caller.host == host for caller in self.callers.values())


@dataclass(frozen=True, slots=True)
class _CallWatch:
    """One socket that connects to others."""

    socket: _Socket


class Guard:
    """Made before the first TCP socket, and stopped after the last one was closed or is watched no more.

    Args:
        context: of the sockets to be guarded; one guard a context.
        credentials: say who may come in.
        log: where events go.

    Attributes:
        refused: callers that were not let in.
        failed: calls of ours to which no key, or another than expected, was answered.
    """

    def __init__(
        self, context: zmq.Context[_Socket], credentials: Credentials, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._context = context
        self._credentials = credentials
        self._log = log
        self._warnings = RateLimitedLog(log)
        self._hosts_told: set[str] = set()
        self.refused = 0
        self.failed = 0
        self._watches: dict[_Socket, _DoorWatch | _CallWatch] = {}
        self._new: SimpleQueue[tuple[_Socket, _DoorWatch | _CallWatch]] = SimpleQueue()
        self._given_up: SimpleQueue[Call] = SimpleQueue()
        self._cut = self._stopping = False
        self._zap: _Socket = context.socket(zmq.REP)
        self._zap.bind(_ZAP)
        self._woken: _Socket = context.socket(zmq.PAIR)
        self._woken.bind("inproc://guard")
        self._waker: _Socket = context.socket(zmq.PAIR)
        self._waker.connect("inproc://guard")
        self._poller = zmq.Poller()
        for made in (self._zap, self._woken):
            self._poller.register(made, zmq.POLLIN)
        self._ended: Future[None] = in_background("guard", self._run)

    def watch_door(self, bound: _Socket, door: Door) -> None:
        """Follow who comes to a socket; call it before the socket is bound."""
        self._watch(bound, _DOOR_EVENTS, _DoorWatch(door))

    def watch_calls(self, connecting: _Socket) -> None:
        """Follow whom a socket connects to; call it before the socket connects."""
        self._watch(connecting, _CALL_EVENTS, _CallWatch(connecting))

    def cut_all(self) -> None:
        """End every connection that came in: those who still may come back at once."""
        self._cut = True
        self._wake()

    def take_given_up(self) -> list[Call]:
        """The connections to be made anew since the last call.

        Raises:
            Exception: whatever ended the guard, without whom nobody is let in.
        """
        if self._ended.done():
            self._ended.result()
        calls: list[Call] = []
        while True:
            try:
                calls.append(self._given_up.get_nowait())
            except Empty:
                return calls

    def stop(self) -> None:
        """End the thread; nobody may be watched any more."""
        self._stopping = True
        self._wake()
        self._ended.exception(timeout=_STOP_S)

    def _watch(self, watched: _Socket, events: int, watch: _DoorWatch | _CallWatch) -> None:
        address = f"inproc://watch-{watched.underlying}"
        watched.monitor(address, events)
        monitor: _Socket = self._context.socket(zmq.PAIR)
        monitor.connect(address)
        self._new.put((monitor, watch))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(zmq.Again):  # awake enough, or gone
            self._waker.send(b"", zmq.DONTWAIT)

    def _run(self) -> None:
        try:
            while not self._stopping:
                ready = dict(self._poller.poll(_POLL_MS))
                if self._woken in ready:
                    self._follow_orders()
                if self._zap in ready:
                    self._answer()
                for monitor, watch in list(self._watches.items()):
                    if monitor in ready:
                        self._follow(monitor, watch)
                self._warnings.tell_when_due()
        finally:
            for monitor in list(self._watches):
                self._forget(monitor)
            self._zap.close()
            self._woken.close()

    def _follow_orders(self) -> None:
        self._woken.recv()
        while not self._new.empty():
            monitor, watch = self._new.get()
            self._watches[monitor] = watch
            self._poller.register(monitor, zmq.POLLIN)
        if self._cut:
            self._cut = False
            for watch in self._watches.values():
                if isinstance(watch, _DoorWatch):
                    for caller in watch.callers.values():
                        _hang_up(caller)

    def _answer(self) -> None:
        """One question of ZeroMQ's: may this key come in through this door?"""
        frames = self._zap.recv_multipart()
        request = frames[1] if len(frames) > 1 else b""
        try:
            name = self._name_of(frames)
        except NotLetIn as refusal:
            reply = [b"400", str(refusal).encode(), b""]
        else:
            reply = [b"200", b"OK", name.encode()]
        self._zap.send_multipart([_ZAP_VERSION, request, *reply, b""])

    def _name_of(self, frames: list[bytes]) -> str:
        """Whose key it is that asks, told and counted where it is refused."""
        if len(frames) != _ZAP_FRAMES or frames[0] != _ZAP_VERSION or frames[5] != b"CURVE":
            raise NotLetIn("not CURVE")
        door, host = Door(frames[2].decode()), frames[3].decode()
        try:
            certificate = self._credentials.let_in(door, z85.encode(frames[6]).decode())
        except NotLetIn as refusal:
            self._refuse(door, str(refusal), host)
            raise
        self._log.info("peer_let_in", door=door, name=certificate.name, role=certificate.role, address=host)
        return certificate.name

    def _follow(self, monitor: _Socket, watch: _DoorWatch | _CallWatch) -> None:
        message = recv_monitor_message(monitor)
        event, value = int(message["event"]), int(message["value"])
        if event == zmq.EVENT_MONITOR_STOPPED:
            self._forget(monitor)
        elif isinstance(watch, _CallWatch):
            self._follow_call(watch, event, message["endpoint"].decode())
        elif event == zmq.EVENT_ACCEPTED:
            self._receive(watch, value)
        elif event == zmq.EVENT_DISCONNECTED:
            self._see_off(watch, value)
        else:
            # ZeroMQ tells the failure just before the end of the connection that it belongs to.
            watch.failed = True

    def _receive(self, watch: _DoorWatch, descriptor: int) -> None:
        try:
            connection, host, port = accepted(descriptor)
        except OSError:
            return  # gone before it said anything: its end is told next
        watch.callers[descriptor] = caller = _Caller(connection, host, port)
        if watch.callers_of(host) > MOST_CALLERS_OF_A_HOST or len(watch.callers) > MOST_CALLERS:
            caller.told = True
            self._refuse(watch.door, "too many connections", host, port)
            _hang_up(caller)
            return
        try:
            admit_bytes(connection)
        except OSError:
            _hang_up(caller)

    def _see_off(self, watch: _DoorWatch, descriptor: int) -> None:
        caller = watch.callers.pop(descriptor, None)
        if watch.failed and not (caller is not None and caller.told):
            host, port = ("unknown", 0) if caller is None else (caller.host, caller.port)
            self._refuse(watch.door, "no valid key", host, port)
        watch.failed = False
        if caller is not None:
            caller.connection.close()

    def _follow_call(self, watch: _CallWatch, event: int, endpoint: str) -> None:
        if not endpoint.startswith(TCP):
            return  # a socket may speak to peers of this box as well, who have no keys
        self.failed += 1
        self._warnings.warning(
            "handshake_failed", endpoint=endpoint, advice="is that service's key the right one?"
        )
        if event & _GIVEN_UP:
            self._given_up.put(Call(watch.socket, endpoint))

    def _refuse(self, door: Door, reason: str, host: str, port: int | None = None) -> None:
        self.refused += 1
        if host not in self._hosts_told and len(self._hosts_told) >= _MOST_HOSTS_TOLD:
            told = "others"
        else:
            self._hosts_told.add(host)
            told = host
        detail = "" if port is None else f"from {host}:{port}"
        self._warnings.warning("peer_refused", detail, door=door, reason=reason, address=told)

    def _forget(self, monitor: _Socket) -> None:
        watch = self._watches.pop(monitor)
        if isinstance(watch, _DoorWatch):
            for caller in watch.callers.values():
                caller.connection.close()
        self._poller.unregister(monitor)
        monitor.close()


def _hang_up(caller: _Caller) -> None:
    """ZeroMQ sees the end of the connection, and tells it."""
    with contextlib.suppress(OSError):  # gone already
        caller.connection.shutdown(socket.SHUT_RDWR)
