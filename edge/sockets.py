"""Every ZeroMQ socket of the line is made here: kind, high-water marks, limits, who binds.

    camera    XPUB binds     frame/, beat/camera/        -> detector; results, edge-watch: beats only
              the same way up: lease/                    <- detector
    detector  PUB  binds     verdict/, beat/detector/    -> results, edge-watch, anyone
    detector  PUB  binds     map/                        -> results, anyone
    detector  ROUTER binds   replay/                     <- results (DEALER), any late subscriber
    results   PUB  binds     beat/results/               -> anyone

Our own services subscribe by XSUB (`edge.speakers`), anyone else by SUB. Endpoints are ipc, or TCP with keys
(`edge.security`).

Maps have a socket of their own: a high-water mark counts messages, and as many pictures as verdicts may wait
for a slow subscriber would be gigabytes. Options are set before bind or connect, as most of them count only
for connections made later; a high-water mark may change at any time, for all connections (`limit_waiting`).
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import structlog
import zmq

from alfa.errors import BadInput, Fault
from edge.addresses import IPC
from edge.messages import MAX_HEADER_BYTES, Part
from edge.security.credentials import Credentials
from edge.security.tcp import SecureTcp

Socket: TypeAlias = zmq.Socket[bytes]

FRAME_HWM = 16  # frames that may wait in a pipe, where they are small; of large ones fewer (`limit_waiting`)
VERDICT_HWM = 10_000
BEAT_HWM = 100
# Subscriptions are messages, too: one that finds no room is dropped without a word, and its line never heard.
_SUBSCRIPTION_HWM = 10_000
MAP_HWM = 64  # of some megabytes each where the judged image is large
MAX_MESSAGE_BYTES = 512 * 1024 * 1024  # a larger part closes the connection before it is read
# What only subscribes, lends or asks has no need to send more; a larger part closes the connection.
MAX_REQUEST_BYTES = MAX_HEADER_BYTES
_SUBSCRIBE = b"\x01"
_DIRECTORY_MODE = 0o750


class Sockets:
    """Owns the ZeroMQ context, every socket made from it and the locks on the names they are bound to.

    One per process and used from one thread; leaving the `with` block closes everything without lingering.

    Args:
        credentials: of the service, without which it has no TCP.
        log: where the guard of TCP sockets tells whom it lets in and refuses.
    """

    def __init__(
        self, credentials: Credentials | None = None, log: structlog.stdlib.BoundLogger | None = None
    ) -> None:
        self._context = zmq.Context()
        self._tcp = SecureTcp(self._context, credentials, log or structlog.stdlib.get_logger())
        self._locks: list[int] = []
        # Held here, or a socket that its user forgets would be closed by the garbage collector.
        self._made: list[Socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tcp.stop(self._made)
        self._context.destroy(linger=0)
        for lock in self._locks:
            os.close(lock)

    def tend(self) -> None:
        """Look after TCP connections (`SecureTcp.tend`); a work loop calls it once a pass."""
        self._tcp.tend()

    def reload_keys(self) -> None:
        """Read anew who may come in over TCP (`SecureTcp.reload_keys`)."""
        self._tcp.reload_keys()

    def counters(self) -> Mapping[str, int]:
        """For the beat: what `SecureTcp.counters` counts; nothing where all is ipc."""
        return self._tcp.counters()

    def publisher(self, endpoint: str, hwm: int) -> Socket:
        """A bound PUB socket: never blocks; a subscriber that is `hwm` messages behind loses the newest.

        Raises:
            Fault: the endpoint is in use by another process, or cannot be made.
        """
        socket = self._socket(zmq.PUB, hwm, MAX_REQUEST_BYTES)
        self._bind(socket, endpoint)
        return socket

    def watched_publisher(self, endpoint: str, hwm: int) -> Socket:
        """Like `publisher`, and one can `receive` a topic's first subscription (byte 1, then the topic), the
        end of its last one (byte 0, then the topic), and what a `speaking_subscriber` sends.

        Raises:
            Fault: the endpoint is in use by another process, or cannot be made.
        """
        socket = self._socket(zmq.XPUB, hwm, MAX_REQUEST_BYTES)
        self._bind(socket, endpoint)
        return socket

    def subscriber(self, endpoints: Iterable[str], topics: Iterable[bytes], hwm: int) -> Socket:
        """A SUB socket connected to each endpoint; peers may come later, ZeroMQ reconnects by itself."""
        socket = self._socket(zmq.SUB, hwm)
        socket.setsockopt(zmq.SNDHWM, _SUBSCRIPTION_HWM)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        self._connect(socket, endpoints)
        return socket

    def speaking_subscriber(self, endpoints: Iterable[str], topics: Iterable[bytes], hwm: int) -> Socket:
        """Like `subscriber`; what is sent on it goes up to every watched publisher it is connected to."""
        socket = self._socket(zmq.XSUB, hwm)
        socket.setsockopt(zmq.SNDHWM, _SUBSCRIPTION_HWM)
        self._connect(socket, endpoints)
        for topic in topics:
            socket.send(_SUBSCRIBE + topic)
        return socket

    def replay_server(self, endpoint: str) -> Socket:
        """A bound ROUTER socket.

        Raises:
            Fault: the endpoint is in use by another process, or cannot be made.
        """
        socket = self._socket(zmq.ROUTER, BEAT_HWM, MAX_REQUEST_BYTES)
        self._bind(socket, endpoint)
        return socket

    def replay_client(self, endpoint: str) -> Socket:
        """A DEALER socket connected to a replay server."""
        socket = self._socket(zmq.DEALER, BEAT_HWM)
        self._connect(socket, [endpoint])
        return socket

    def wake_pair(self, name: str) -> tuple[Socket, Socket]:
        """Two connected in-process sockets: a thread sends on the second to wake a poller of the first."""
        receiver, sender = self._socket(zmq.PAIR, 0), self._socket(zmq.PAIR, 0)
        receiver.bind(f"inproc://{name}")
        sender.connect(f"inproc://{name}")
        return receiver, sender

    def _socket(self, kind: int, hwm: int, largest: int = MAX_MESSAGE_BYTES) -> Socket:
        socket: Socket = self._context.socket(kind)
        self._made.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, hwm)
        socket.setsockopt(zmq.RCVHWM, hwm)
        socket.setsockopt(zmq.MAXMSGSIZE, largest)
        return socket

    def _bind(self, socket: Socket, endpoint: str) -> None:
        if endpoint.startswith(IPC):
            self._claim(Path(endpoint.removeprefix(IPC)))
        else:
            self._tcp.open_door(socket, endpoint)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise Fault("endpoint_unusable", f"cannot bind {endpoint}: {error.strerror}") from error

    def _connect(self, socket: Socket, endpoints: Iterable[str]) -> None:
        endpoints = list(endpoints)
        near = [endpoint for endpoint in endpoints if endpoint.startswith(IPC)]
        away = [endpoint for endpoint in endpoints if not endpoint.startswith(IPC)]
        # In this order: a socket that has keys would ask for those of peers on this box, too.
        for endpoint in near:
            _require_private(Path(endpoint.removeprefix(IPC)).parent)
            socket.connect(endpoint)
        if away:
            self._tcp.call(socket, away)

    def _claim(self, path: Path) -> None:
        """Lock the name: ZeroMQ would silently take an ipc address away from its present owner."""
        try:
            make_private(path.parent)
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise Fault("endpoint_unusable", f"cannot make {path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise Fault(
                "endpoint_in_use", f"{path} is served by another process; stop that one first"
            ) from error
        self._locks.append(lock)


def make_private(directory: Path) -> None:
    """Make the directory of the ipc sockets, unless it is there.

    Raises:
        BadInput: it is, and others may come in.
        OSError: it cannot be made.
    """
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    _require_private(directory)


def _require_private(directory: Path) -> None:
    """What keeps others on the machine out of ipc sockets is the mode of their directory.

    Raises:
        BadInput: others may come in.
    """
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        return  # whoever binds there makes it
    if mode & stat.S_IRWXO:
        raise BadInput(
            directory,
            "",
            None,
            f"has mode {stat.S_IMODE(mode):04o}: every user of this machine could speak on its sockets; "
            "make it 0750",
        )


def send(socket: Socket, parts: list[Part]) -> None:
    """Send one multipart message without copying large parts; the caller must not change them afterwards."""
    socket.send_multipart(parts, copy=False)


def limit_waiting(socket: Socket, messages: int) -> None:
    """Let fewer messages wait for each subscriber from now on, than the socket was made with."""
    socket.setsockopt(zmq.SNDHWM, messages)


def offer(socket: Socket, parts: list[Part]) -> bool:
    """Send unless that would block, as it may on a DEALER whose peer takes nothing; False where not sent."""
    try:
        socket.send_multipart(parts, zmq.DONTWAIT)
    except zmq.Again:
        return False
    return True


def receive(socket: Socket) -> list[Part] | None:
    """One multipart message if one is there, as views of ZeroMQ's own memory; None where there is none."""
    try:
        frames = socket.recv_multipart(zmq.DONTWAIT, copy=False)
    except zmq.Again:
        return None
    return [frame.buffer for frame in frames]
