"""Messages of those who publish, each believed for the topics asked of it and for no others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import zmq

from edge.addresses import IPC
from edge.messages import Part
from edge.rate_limited_log import RateLimitedLog
from edge.sockets import Socket, Sockets, receive, send

_LONGEST_TOPIC_SHOWN = 200  # bytes


@dataclass(frozen=True, slots=True)
class Speaker:
    """One socket, and what may come by it.

    Attributes:
        socket: connected.
        endpoint: what it is connected to, for the log.
        topics: that were asked for there. Each ends with `/`.
        near: whether all who are behind it are of this box.
    """

    socket: Socket
    endpoint: str
    topics: frozenset[bytes]
    near: bool

    @property
    def lines(self) -> str:
        """The lines that it speaks for, for the log."""
        return ", ".join(sorted({_line_of(topic) for topic in self.topics}))


class Speakers:
    """Takes in turn what several sockets bring, and drops what is not its sender's to say.

    The service behind a TCP endpoint has proved whose key it has, but ZeroMQ does not tell by which of a
    socket's connections a message came, and a publisher may send what nobody subscribed to. So each TCP
    endpoint has a socket of its own here, and only topics that were asked for there are taken from it: a
    genuine camera cannot speak for another line. Those of this box share one socket, as whoever may write in
    their directory may take the place of any of them.

    A message is an impostor's where its topic was asked of another, a stray where it was asked of nobody.
    Both are counted, told a few times and dropped. Decoders compare the topic with the line that the header
    names.

    Args:
        speakers: one or more.
        warnings: where what is dropped is told.

    Attributes:
        impostors: messages under a topic that was asked of another.
        strays: messages under a topic that nobody was asked for.
    """

    def __init__(self, speakers: Iterable[Speaker], warnings: RateLimitedLog) -> None:
        self._by_socket = {speaker.socket: speaker for speaker in speakers}
        self._known = frozenset[bytes]().union(*(speaker.topics for speaker in self._by_socket.values()))
        self._warnings = warnings
        self._turn = 0
        self.impostors = self.strays = 0
        self._poller = zmq.Poller()
        for socket in self.sockets:
            self._poller.register(socket, zmq.POLLIN)

    @classmethod
    def subscribed(
        cls, sockets: Sockets, topics: Mapping[str, Iterable[bytes]], hwm: int, warnings: RateLimitedLog
    ) -> Self:
        """Subscribers to topics, by the endpoint that publishes them; peers may come later.

        Args:
            sockets: makes them.
            topics: by endpoint.
            hwm: messages that may wait in each connection.
            warnings: as above.

        Raises:
            BadInput: there are no keys for a TCP endpoint, or others may come into the sockets' directory.
        """
        asked = {endpoint: frozenset(of_it) for endpoint, of_it in topics.items()}
        near = [endpoint for endpoint in asked if endpoint.startswith(IPC)]
        away = [[endpoint] for endpoint in asked if not endpoint.startswith(IPC)]
        speakers = []
        for endpoints in [near, *away] if near else away:
            of_them = frozenset[bytes]().union(*(asked[endpoint] for endpoint in endpoints))
            socket = sockets.speaking_subscriber(endpoints, of_them, hwm)
            name = "this box" if endpoints is near else endpoints[0]
            speakers.append(Speaker(socket, name, of_them, near=endpoints is near))
        return cls(speakers, warnings)

    @property
    def sockets(self) -> list[Socket]:
        """For a poller."""
        return list(self._by_socket)

    def wait(self, wait_ms: int) -> None:
        """Until a message is there, or so long at most."""
        self._poller.poll(wait_ms)

    def take(self, most: int) -> Iterator[tuple[bytes, list[Part]]]:
        """The messages that are there, at most so many, one of each socket after the other; never blocks.

        With each comes the topic under which it was asked for, of which its own may be longer.
        """
        waiting = deque(self._ready())
        waiting.rotate(-self._turn)
        self._turn += 1
        while waiting and most > 0:
            speaker = waiting.popleft()
            parts = receive(speaker.socket)
            if parts is None:
                continue
            waiting.append(speaker)
            most -= 1
            topic = _topic_of(parts[0])
            if topic in speaker.topics:
                yield topic, parts
            else:
                self._drop(speaker, topic)

    def say_near(self, parts: list[Part]) -> None:
        """Send a message up to all publishers of this box."""
        for speaker in self._by_socket.values():
            if speaker.near:
                send(speaker.socket, parts)

    def _ready(self) -> list[Speaker]:
        if len(self._by_socket) == 1:
            return list(self._by_socket.values())
        # A look at 64 sockets by one poll costs an eighth of asking each of them for a message.
        return [self._by_socket[socket] for socket, _ in self._poller.poll(0)]

    def _drop(self, speaker: Speaker, topic: bytes) -> None:
        if topic not in self._known:
            self.strays += 1
            self._warnings.warning("messages_of_no_line", _shown(topic), endpoint=speaker.endpoint)
            return
        self.impostors += 1
        self._warnings.warning(
            "impostor",
            f"sent {_shown(topic)}",
            endpoint=speaker.endpoint,
            speaks_for=speaker.lines,
            advice="is its config.toml that of another line? else its key is in wrong hands: revoke it",
        )


def _topic_of(part: Part) -> bytes:
    """Up to the last `/`, as a subscription lets through what only begins with its topic."""
    head, slash, _ = bytes(part[:_LONGEST_TOPIC_SHOWN]).rpartition(b"/")
    return head + slash


def _line_of(topic: bytes) -> str:
    return topic.split(b"/")[-2].decode()


def _shown(topic: bytes) -> str:
    return topic.decode(errors="replace")
