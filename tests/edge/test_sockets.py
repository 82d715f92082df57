"""Sockets of the line: who may bind, who receives what, and that nothing grows without bound."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alfa.errors import Fault
from edge.messages import Part, frame_topic
from edge.sockets import BEAT_HWM, FRAME_HWM, Socket, Sockets, offer, receive, send

HOLDER = (
    "import sys; from edge.sockets import Sockets; s = Sockets(); s.publisher(sys.argv[1], 1); "
    "print('bound', flush=True); sys.stdin.read()"
)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with Sockets() as made:
        yield made


def subscribed(publisher: Socket) -> bytes:
    """Wait for a subscription to reach a watched publisher; its topic."""
    assert publisher.poll(10_000)
    message = receive(publisher)
    assert message is not None
    assert bytes(message[0][:1]) == b"\x01"
    return bytes(message[0][1:])


def test_endpoint_of_another_process_is_not_taken(runtime_dir: Path, sockets: Sockets) -> None:
    """ZeroMQ would silently take the name away; here it is a fault that names it."""
    path = runtime_dir / "camera-line1.sock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, f"ipc://{path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"bound\n"
        with pytest.raises(Fault, match=str(path)) as caught:
            sockets.publisher(f"ipc://{path}", FRAME_HWM)
        holder.kill()
    assert caught.value.name == "endpoint_in_use"


def test_endpoint_of_a_killed_process_is_free(runtime_dir: Path, sockets: Sockets) -> None:
    """What a crash leaves behind does not keep the service from starting again."""
    endpoint = f"ipc://{runtime_dir}/camera-line1.sock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"bound\n"
        holder.kill()
    assert (runtime_dir / "camera-line1.sock").exists()
    sockets.publisher(endpoint, FRAME_HWM)


def test_endpoint_is_free_after_closing(runtime_dir: Path, sockets: Sockets) -> None:
    """Leaving the with-block gives the name back."""
    endpoint = f"ipc://{runtime_dir}/x.sock"
    with Sockets() as first:
        first.publisher(endpoint, FRAME_HWM)
    sockets.publisher(endpoint, FRAME_HWM)


def test_directory_is_for_owner_and_group_only(runtime_dir: Path, sockets: Sockets) -> None:
    """Others on the machine can neither listen nor speak."""
    sockets.publisher(f"ipc://{runtime_dir}/run/x.sock", FRAME_HWM)
    assert (runtime_dir / "run").stat().st_mode & 0o777 == 0o750


def test_directory_that_cannot_be_made_is_a_fault(runtime_dir: Path, sockets: Sockets) -> None:
    """A file where the directory should be is told with the path."""
    (runtime_dir / "run").write_text("")
    with pytest.raises(Fault, match=r"run/x\.sock") as caught:
        sockets.publisher(f"ipc://{runtime_dir}/run/x.sock", FRAME_HWM)
    assert caught.value.name == "endpoint_unusable"


def test_line1_does_not_receive_line10(
    runtime_dir: Path, sockets: Sockets, receive_within: Callable[..., list[Part]]
) -> None:
    """A subscription to one line never matches a line whose name begins alike."""
    publisher = sockets.watched_publisher(f"ipc://{runtime_dir}/x.sock", FRAME_HWM)
    subscriber = sockets.subscriber([f"ipc://{runtime_dir}/x.sock"], [frame_topic("line1")], FRAME_HWM)
    subscribed(publisher)
    send(publisher, [frame_topic("line10"), b"not ours"])
    send(publisher, [frame_topic("line1"), b"ours"])
    assert bytes(receive_within(subscriber)[1]) == b"ours"


def test_watched_publisher_sees_listeners_come_and_go(runtime_dir: Path, sockets: Sockets) -> None:
    """The first subscription to a topic and the end of the last one are reported."""
    publisher = sockets.watched_publisher(f"ipc://{runtime_dir}/x.sock", FRAME_HWM)
    subscriber = sockets.subscriber([f"ipc://{runtime_dir}/x.sock"], [b"frame/line1/"], FRAME_HWM)
    assert subscribed(publisher) == b"frame/line1/"
    subscriber.close()
    assert publisher.poll(10_000)
    assert receive(publisher) == [b"\x00frame/line1/"]


def test_subscriber_that_does_not_read_costs_bounded_memory(runtime_dir: Path, sockets: Sockets) -> None:
    """Sending never blocks; of 400 frames only what fits the high-water marks and the kernel waits."""
    publisher = sockets.watched_publisher(f"ipc://{runtime_dir}/x.sock", FRAME_HWM)
    subscriber = sockets.subscriber([f"ipc://{runtime_dir}/x.sock"], [b"frame/"], FRAME_HWM)
    subscribed(publisher)
    for _ in range(400):
        send(publisher, [b"frame/line1/", bytes(200_000)])
    waiting = 0
    while subscriber.poll(300):
        assert receive(subscriber) is not None
        waiting += 1
    assert FRAME_HWM <= waiting <= 4 * FRAME_HWM


def test_subscriber_may_come_before_its_publisher(
    runtime_dir: Path, sockets: Sockets, receive_within: Callable[..., list[Part]]
) -> None:
    """Services start in any order."""
    subscriber = sockets.subscriber([f"ipc://{runtime_dir}/x.sock"], [b""], BEAT_HWM)
    publisher = sockets.watched_publisher(f"ipc://{runtime_dir}/x.sock", BEAT_HWM)
    subscribed(publisher)
    send(publisher, [b"beat/camera/line1/"])
    assert receive_within(subscriber) == [b"beat/camera/line1/"]


@pytest.mark.parametrize("kind", ["subscriber", "speaking_subscriber"])
def test_more_topics_than_messages_may_wait_are_all_subscribed(
    runtime_dir: Path, sockets: Sockets, receive_within: Callable[..., list[Part]], kind: str
) -> None:
    """One detector may have many lines; a publisher that comes later sees each of its topics."""
    endpoint = f"ipc://{runtime_dir}/a.sock"
    topics = {f"frame/line{number}/".encode() for number in range(64)}
    getattr(sockets, kind)([endpoint], topics, 16)
    publisher = sockets.watched_publisher(endpoint, 16)
    assert {bytes(receive_within(publisher)[0])[1:] for _ in topics} == topics


def test_receive_does_not_wait(runtime_dir: Path, sockets: Sockets) -> None:
    """Without a message there is None, at once."""
    subscriber = sockets.subscriber([f"ipc://{runtime_dir}/x.sock"], [b""], BEAT_HWM)
    assert receive(subscriber) is None


def test_replay_answers_the_one_who_asked(
    runtime_dir: Path, sockets: Sockets, receive_within: Callable[..., list[Part]]
) -> None:
    """The server sees who asks, and only that client gets the answer."""
    endpoint = f"ipc://{runtime_dir}/replay.sock"
    server = sockets.replay_server(endpoint)
    first, second = sockets.replay_client(endpoint), sockets.replay_client(endpoint)
    send(first, [b"replay/line1/", b"?"])
    identity, topic, _ = receive_within(server)
    send(server, [identity, topic, b"answer"])
    assert receive_within(first) == [b"replay/line1/", b"answer"]
    assert receive(second) is None


def test_offer_does_not_wait_for_a_peer_that_is_away(runtime_dir: Path, sockets: Sockets) -> None:
    """A replay client whose detector never takes a request is told so, instead of being held up."""
    client = sockets.replay_client(f"ipc://{runtime_dir}/replay.sock")
    taken = [offer(client, [b"replay/line1/", b""]) for _ in range(BEAT_HWM + 1)]
    assert taken == [True] * BEAT_HWM + [False]


def test_wake_pair_wakes_another_thread(sockets: Sockets, receive_within: Callable[..., list[Part]]) -> None:
    """A poller in one thread sees what another thread sends."""
    receiver, sender = sockets.wake_pair("worker")
    thread = threading.Thread(target=send, args=(sender, [b"done"]))
    thread.start()
    assert receive_within(receiver) == [b"done"]
    thread.join()
