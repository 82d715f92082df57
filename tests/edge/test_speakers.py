"""What several publishers bring: each in turn, and under the topics that were asked of it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import zmq
from structlog.testing import capture_logs

from edge.messages import Part
from edge.rate_limited_log import RateLimitedLog
from edge.sockets import Socket, Sockets, send
from edge.speakers import Speaker, Speakers

HWM = 1000


class Pair:
    """Two publishers that send what they like, each asked for a line of its own name."""

    def __init__(self, sockets: Sockets, directory: Path) -> None:
        self.publishers: dict[str, Socket] = {}
        speakers = []
        for name in ("a", "b"):
            endpoint, topic = f"ipc://{directory}/{name}.sock", f"frame/{name}/".encode()
            publisher = sockets.watched_publisher(endpoint, HWM)
            publisher.setsockopt(zmq.XPUB_MANUAL, 1)
            socket = sockets.speaking_subscriber([endpoint], [topic], HWM)
            assert publisher.poll(10_000)
            publisher.recv()
            publisher.setsockopt(zmq.SUBSCRIBE, b"")
            self.publishers[name] = publisher
            speakers.append(Speaker(socket, endpoint, frozenset([topic]), near=name == "a"))
        self.speakers = Speakers(speakers, RateLimitedLog(structlog.stdlib.get_logger()))

    def sent(self, name: str, *messages: bytes) -> None:
        """Publish messages of a topic alone; returns when the first one has arrived."""
        for message in messages:
            send(self.publishers[name], [message])
        assert self.speakers.sockets["ab".index(name)].poll(10_000)

    def taken(self, most: int = 100) -> list[bytes]:
        """The topics of what is taken."""
        return [topic for topic, _ in self.speakers.take(most)]


@pytest.fixture
def pair(runtime_dir: Path) -> Iterator[Pair]:
    with Sockets() as sockets:
        yield Pair(sockets, runtime_dir)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """What was logged so far."""
    with capture_logs() as entries:
        yield entries


def all_taken(pair: Pair, count: int) -> list[bytes]:
    """So many accepted messages, however many looks it takes."""
    taken: list[bytes] = []
    while len(taken) < count:
        assert any(socket.poll(10_000) for socket in pair.speakers.sockets)
        taken += pair.taken()
    return taken


def test_each_is_heard_for_its_own_line(pair: Pair, logged: list[Any]) -> None:
    """What comes under the topics that were asked for is taken, and nothing is told."""
    pair.sent("a", b"frame/a/")
    pair.sent("b", b"frame/b/")
    assert sorted(all_taken(pair, 2)) == [b"frame/a/", b"frame/b/"]
    assert (pair.speakers.impostors, pair.speakers.strays, logged) == (0, 0, [])


def test_impostor_is_dropped_counted_and_told(pair: Pair, logged: list[Any]) -> None:
    """The log names the endpoint that it came by, whose that is, and what it claimed; once, however many."""
    pair.sent("a", *[b"frame/b/"] * 50, b"frame/a/")
    assert all_taken(pair, 1) == [b"frame/a/"]
    assert (pair.speakers.impostors, pair.speakers.strays) == (50, 0)
    (entry,) = logged
    assert (entry["event"], entry["speaks_for"], entry["detail"]) == ("impostor", "a", "sent frame/b/")
    assert entry["endpoint"].endswith("/a.sock")


@pytest.mark.parametrize("topic", [b"", b"frame/", b"frame/c/", b"frame/ab/", b"beat/camera/b/", b"\xff/"])
def test_stray_is_dropped_and_counted(pair: Pair, logged: list[Any], topic: bytes) -> None:
    """It claims to be nobody that is known here."""
    pair.sent("a", topic, b"frame/a/")
    assert all_taken(pair, 1) == [b"frame/a/"]
    assert (pair.speakers.impostors, pair.speakers.strays) == (0, 1)
    assert [entry["event"] for entry in logged] == ["messages_of_no_line"]


def test_a_busy_one_does_not_keep_the_other_waiting(pair: Pair) -> None:
    """With a hundred messages of one waiting, the other's only one is among the first two."""
    pair.sent("a", *[b"frame/a/"] * 100)
    pair.sent("b", b"frame/b/")
    assert sorted(pair.taken(most=2)) == [b"frame/a/", b"frame/b/"]


def test_the_first_turn_goes_round(pair: Pair) -> None:
    """Where a look takes one message only, both are heard."""
    pair.sent("a", *[b"frame/a/"] * 4)
    pair.sent("b", *[b"frame/b/"] * 4)
    assert {*pair.taken(most=1), *pair.taken(most=1)} == {b"frame/a/", b"frame/b/"}


def test_impostors_count_as_taken(pair: Pair) -> None:
    """Whoever floods does not hold up the loop."""
    pair.sent("a", *[b"frame/b/"] * 100)
    looks = 0
    while pair.speakers.impostors < 100:
        assert any(socket.poll(10_000) for socket in pair.speakers.sockets)
        assert pair.taken(most=10) == []
        looks += 1
    assert looks >= 10


def test_those_of_this_box_alone_are_spoken_to(pair: Pair, receive_within: Callable[..., list[Part]]) -> None:
    """What goes up to cameras is about shared memory, which is of no use elsewhere."""
    pair.speakers.say_near([b"lease/a/"])
    assert bytes(receive_within(pair.publishers["a"])[0]) == b"lease/a/"
    assert not pair.publishers["b"].poll(100)


def test_those_of_this_box_share_a_socket(runtime_dir: Path) -> None:
    """64 lines of one box cost no more than one."""
    with Sockets() as sockets:
        topics = {f"ipc://{runtime_dir}/{name}.sock": [f"frame/{name}/".encode()] for name in "abc"}
        speakers = Speakers.subscribed(sockets, topics, HWM, RateLimitedLog(structlog.stdlib.get_logger()))
        assert len(speakers.sockets) == 1
