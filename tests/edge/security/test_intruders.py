"""Strangers at every door, over real TCP: nothing they send is accepted, nothing reaches them, all told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from alfa.errors import BadInput, Fault
from edge.messages import Part, frame_topic, verdict_topic
from edge.security.guard import MOST_CALLERS_OF_A_HOST
from edge.security.keys import Role
from edge.sockets import MAX_REQUEST_BYTES, Socket, Sockets, receive, send
from tests.edge.security.conftest import Plant, free_endpoint

PATIENCE_S = 20.0
FRAME_A, FRAME_B = frame_topic("a"), frame_topic("b")


def until(holds: Callable[[], object], step: Callable[[], object] = lambda: time.sleep(0.01)) -> None:
    """Repeat a step until something holds; fails when it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        step()


def taken(reader: Socket, wait_ms: int = 0) -> list[list[bytes]]:
    """Everything that is there."""
    messages = []
    while reader.poll(wait_ms):
        messages.append([bytes(part) for part in receive(reader) or []])
    return messages


def heard(publisher: Socket, listener: Socket, message: list[Part]) -> None:
    """Publish until a listener hears; what is left over is taken away."""
    until(lambda: listener.poll(20), lambda: send(publisher, message))
    taken(listener, wait_ms=100)


# A stranger's own key, and the key of the server that it believes to reach.
STRANGERS_AT_FRAMES = [
    pytest.param(None, None, "no valid key", id="no key"),
    pytest.param("?", "camera-b", "no valid key", id="wrong server key"),
    pytest.param("?", "camera-a", "unknown key", id="unknown key"),
    pytest.param("laptop", "camera-a", "role subscriber", id="subscriber's key"),
    pytest.param("camera-b", "camera-a", "role camera", id="another camera's key"),
]


@pytest.mark.parametrize(("own", "server", "reason"), STRANGERS_AT_FRAMES)
def test_stranger_hears_no_frames_and_sends_nothing_to_a_camera(
    plant: Plant, logged: list[dict[str, Any]], own: str | None, server: str | None, reason: str
) -> None:
    """Refused, counted, and logged with its address, while the detector beside it loses no frame."""
    cameras, detectors = plant.sockets(Role.CAMERA, "a"), plant.sockets(Role.DETECTOR, "main")
    camera = cameras.watched_publisher(plant.frames, 10_000)
    detector = detectors.speaking_subscriber([plant.frames], [FRAME_A], 10_000)
    assert camera.poll(10_000)
    assert taken(camera) == [[b"\x01" + FRAME_A]]
    stranger = plant.stranger(zmq.XSUB, own, server)
    stranger.connect(plant.frames)
    stranger.send(b"\x01")
    for number in range(1000):
        send(camera, [FRAME_A, b"%d" % number])
        stranger.send(b"lease/a/")
    until(lambda: cameras.counters()["peers_refused"] > 0)
    frames = taken(detector, wait_ms=300)
    assert [int(frame[1]) for frame in frames] == list(range(1000))
    assert (taken(stranger), taken(camera)) == ([], [])
    refused = [entry for entry in logged if entry["event"] == "peer_refused"]
    assert {(entry["door"], entry["reason"], entry["address"]) for entry in refused} == {
        ("frames", reason, "127.0.0.1")
    }


@pytest.mark.parametrize(
    ("own", "with_keys"),
    [
        pytest.param(None, False, id="no key"),
        pytest.param("?", True, id="unknown key"),
        pytest.param("camera-b", True, id="another camera's key"),
        pytest.param("laptop", True, id="subscriber's key"),
    ],
)
def test_stranger_in_the_place_of_a_camera_sends_no_frame(
    plant: Plant, logged: list[dict[str, Any]], own: str | None, with_keys: bool
) -> None:
    """Of its 1000 frames none reaches the detector, and the genuine camera beside it loses none."""
    stranger = plant.stranger(zmq.XPUB, own)
    stranger.curve_server = with_keys
    stranger.bind(plant.frames)
    cameras, detectors = plant.sockets(Role.CAMERA, "b"), plant.sockets(Role.DETECTOR, "main")
    genuine = cameras.watched_publisher(plant.network.cameras["b"].frames, 10_000)
    endpoints = [camera.frames for camera in plant.network.cameras.values()]
    detector = detectors.speaking_subscriber(endpoints, [FRAME_A, FRAME_B], 10_000)
    until(lambda: len(taken(genuine, wait_ms=100)) > 0 and detectors.counters()["handshakes_failed"])
    for number in range(1000):
        stranger.send_multipart([FRAME_A, b"forged"])
        send(genuine, [FRAME_B, b"%d" % number])
    frames = taken(detector, wait_ms=300)
    assert frames == [[FRAME_B, b"%d" % number] for number in range(1000)]
    failed = [entry for entry in logged if entry["event"] == "handshake_failed"]
    assert {entry["endpoint"] for entry in failed} == {plant.frames}


def test_genuine_camera_is_heard_after_a_stranger_stood_in_its_place(plant: Plant) -> None:
    """ZeroMQ gives such a connection up for good; it is made anew."""
    stranger = plant.stranger(zmq.XPUB)
    stranger.bind(plant.frames)
    detectors = plant.sockets(Role.DETECTOR, "main")
    detector = detectors.speaking_subscriber([plant.frames], [FRAME_A], 16)
    until(lambda: detectors.counters()["handshakes_failed"])
    stranger.close()
    cameras: list[Sockets] = []

    def come() -> bool:
        """The port may be free a moment later only."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", int(plant.frames.rpartition(":")[2])))
            except OSError:
                return False
        cameras.append(plant.sockets(Role.CAMERA, "a"))
        return True

    until(come)
    camera = cameras[0].watched_publisher(plant.frames, 16)

    def speak() -> None:
        detectors.tend()
        send(camera, [FRAME_A, b"x"])

    until(lambda: detector.poll(20), speak)


@pytest.mark.parametrize(
    ("door", "own"),
    [
        ("verdicts", None),
        ("verdicts", "?"),
        ("verdicts", "detector"),
        ("maps", None),
        ("maps", "?"),
        ("maps", "camera-a"),
    ],
)
def test_stranger_hears_no_verdicts_and_no_pictures(plant: Plant, door: str, own: str | None) -> None:
    """A subscriber with a key hears all of them meanwhile."""
    detectors, laptops = plant.sockets(Role.DETECTOR, "main"), plant.sockets(Role.SUBSCRIBER)
    endpoint = str(getattr(plant.network.detectors["main"], door))
    detector = detectors.publisher(endpoint, 10_000)
    laptop = laptops.subscriber([endpoint], [b""], 10_000)
    heard(detector, laptop, [b"x"])
    stranger = plant.stranger(zmq.SUB, own, "detector" if own else None)
    stranger.connect(endpoint)
    until(lambda: detectors.counters()["peers_refused"] > 0)
    for number in range(100):
        send(detector, [verdict_topic("a"), b"%d" % number])
    assert len(taken(laptop, wait_ms=300)) == 100
    assert taken(stranger) == []


@pytest.mark.parametrize("own", [None, "?", "camera-a", "detector"])
def test_stranger_asks_no_replay(plant: Plant, own: str | None) -> None:
    """None of its requests arrives; those of the results service do."""
    detectors, results = plant.sockets(Role.DETECTOR, "main"), plant.sockets(Role.RESULTS)
    server = detectors.replay_server(plant.replay)
    stranger = plant.stranger(zmq.DEALER, own, "detector" if own else None)
    stranger.connect(plant.replay)
    for _ in range(100):
        stranger.send(b"forged")
    until(lambda: detectors.counters()["peers_refused"] > 0)
    client = results.replay_client(plant.replay)
    send(client, [b"genuine"])
    assert [message[1:] for message in taken(server, wait_ms=400)] == [[b"genuine"]]


def test_a_host_that_is_gone_is_noticed_by_tcp(plant: Plant) -> None:
    """ZeroMQ's heartbeat would end a process that is behind as its connection breaks (libzmq issue 4364)."""
    publisher = plant.sockets(Role.CAMERA, "a").watched_publisher(plant.frames, 16)
    listener = plant.sockets(Role.DETECTOR, "main").speaking_subscriber([plant.frames], [FRAME_A], 16)
    for made in (publisher, listener):
        assert (made.getsockopt(zmq.HEARTBEAT_IVL), made.getsockopt(zmq.TCP_KEEPALIVE)) == (0, 1)


def test_stranger_at_the_door_by_the_dozen_is_told_a_few_times(
    plant: Plant, logged: list[dict[str, Any]]
) -> None:
    """Every attempt is counted, and the log does not fill."""
    cameras = plant.sockets(Role.CAMERA, "a")
    cameras.watched_publisher(plant.frames, 16)
    strangers = [plant.stranger(zmq.SUB, "?", "camera-a") for _ in range(20)]
    for stranger in strangers:
        stranger.connect(plant.frames)
    until(lambda: cameras.counters()["peers_refused"] >= 20)
    assert len([entry for entry in logged if entry["event"] == "peer_refused"]) == 1


def test_address_is_told_even_of_one_who_says_all_at_once(plant: Plant, logged: list[dict[str, Any]]) -> None:
    """A whole greeting without a key is refused at once; who sent it is known by then."""
    cameras = plant.sockets(Role.CAMERA, "a")
    cameras.watched_publisher(plant.frames, 16)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
    address = ("127.0.0.1", int(plant.frames.rpartition(":")[2]))
    # By luck one of them may be named in any case.
    for number in range(1, 11):
        with socket.create_connection(address) as caller:
            caller.sendall(greeting + bytes(1000))
            if number == 1:
                first = f"from 127.0.0.1:{caller.getsockname()[1]}"
            until(lambda number=number: cameras.counters()["peers_refused"] == number)  # type: ignore[misc]
    refused = [entry for entry in logged if entry["event"] == "peer_refused"]
    assert [(entry["address"], entry["detail"]) for entry in refused] == [("127.0.0.1", first)]


def test_one_host_cannot_take_every_connection(plant: Plant) -> None:
    """What is above the limit is hung up on, and whoever was there before stays."""
    cameras, detectors = plant.sockets(Role.CAMERA, "a"), plant.sockets(Role.DETECTOR, "main")
    camera = cameras.watched_publisher(plant.frames, 16)
    detector = detectors.speaking_subscriber([plant.frames], [FRAME_A], 16)
    assert camera.poll(10_000)
    address = ("127.0.0.1", int(plant.frames.rpartition(":")[2]))
    callers = [socket.create_connection(address) for _ in range(MOST_CALLERS_OF_A_HOST)]
    try:
        # The detector has one, so the last is one too many: ZeroMQ's greeting, if anything, and the end.
        while callers[-1].recv(100):
            pass
        assert cameras.counters()["peers_refused"] == 1
        send(camera, [FRAME_A, b"x"])
        assert taken(detector, wait_ms=500) == [[FRAME_A, b"x"]]
    finally:
        for caller in callers:
            caller.close()


def test_many_hosts_cannot_take_every_connection(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of many addresses is many hosts; whoever was there before stays."""
    monkeypatch.setattr("edge.security.guard.MOST_CALLERS", 5)
    cameras, detectors = plant.sockets(Role.CAMERA, "a"), plant.sockets(Role.DETECTOR, "main")
    camera = cameras.watched_publisher(plant.frames, 16)
    detector = detectors.speaking_subscriber([plant.frames], [FRAME_A], 16)
    assert camera.poll(10_000)
    address = ("127.0.0.1", int(plant.frames.rpartition(":")[2]))
    with ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection(address, source_address=(f"127.0.1.{host}", 0)))
            for host in range(1, 6)
        ]
        # The detector has one of the five, so the last is one too many.
        while callers[-1].recv(100):
            pass
        assert cameras.counters()["peers_refused"] == 1
        send(camera, [FRAME_A, b"x"])
        assert taken(detector, wait_ms=500) == [[FRAME_A, b"x"]]


def test_revoked_key_is_cut_off_and_others_come_back(plant: Plant) -> None:
    """A reload is enough, though the stolen key is connected already."""
    detectors = plant.sockets(Role.DETECTOR, "main")
    detector = detectors.publisher(plant.verdicts, 16)
    results = plant.sockets(Role.RESULTS).subscriber([plant.verdicts], [b""], 16)
    laptop = plant.sockets(Role.SUBSCRIBER).subscriber([plant.verdicts], [b""], 16)
    heard(detector, results, [b"x"])
    heard(detector, laptop, [b"x"])
    plant.keys.revoke("laptop")
    detectors.reload_keys()
    until(lambda: detectors.counters()["peers_refused"] > 0)
    heard(detector, results, [b"x"])
    taken(laptop)
    send(detector, [b"secret"])
    assert taken(laptop, wait_ms=300) == []


def test_new_key_is_let_in_after_a_reload(plant: Plant) -> None:
    """Nobody who is connected notices; the newcomer calls again until it is let in."""
    detectors, results = plant.sockets(Role.DETECTOR, "main"), plant.sockets(Role.RESULTS)
    certificate = (plant.keys.path / "results.pub").rename(plant.keys.path / "elsewhere")
    detector = detectors.publisher(plant.verdicts, 16)
    certificate.rename(plant.keys.path / "results.pub")
    listener = results.subscriber([plant.verdicts], [b""], 16)
    certificate = (plant.keys.path / "results.pub").rename(plant.keys.path / "elsewhere")
    detectors.reload_keys()
    until(lambda: detectors.counters()["peers_refused"] > 0)
    certificate.rename(plant.keys.path / "results.pub")
    detectors.reload_keys()

    def speak() -> None:
        results.tend()
        send(detector, [b"x"])

    until(lambda: listener.poll(20), speak)


def test_reload_with_a_damaged_key_keeps_the_list(plant: Plant, logged: list[dict[str, Any]]) -> None:
    """The old list stays in force; the log and a counter say so."""
    detectors = plant.sockets(Role.DETECTOR, "main")
    detector = detectors.publisher(plant.verdicts, 16)
    (plant.keys.path / "laptop.pub").write_text("damaged")
    detectors.reload_keys()
    (plant.keys.path / "laptop.pub").unlink()
    laptop_may = plant.sockets(Role.RESULTS).subscriber([plant.verdicts], [b""], 16)
    heard(detector, laptop_may, [b"x"])
    assert detectors.counters()["keys_not_reloaded"] == 1
    assert any(entry["event"] == "keys_not_reloaded" and "laptop.pub" in entry["detail"] for entry in logged)


def test_oversized_request_is_not_read(plant: Plant) -> None:
    """Even of one who may ask: the connection ends before memory is taken for it."""
    server = plant.sockets(Role.DETECTOR, "main").replay_server(plant.replay)
    client = plant.sockets(Role.RESULTS).replay_client(plant.replay)
    send(client, [bytes(MAX_REQUEST_BYTES + 1)])
    send(client, [bytes(MAX_REQUEST_BYTES)])
    send(client, [b"next"])
    until(lambda: server.poll(20), lambda: send(client, [b"again"]))
    assert all(len(message[1]) <= MAX_REQUEST_BYTES for message in taken(server, wait_ms=300))


def test_tcp_without_keys_is_refused() -> None:
    """Both ends: nothing is bound or connected in the clear."""
    endpoint = free_endpoint()
    with Sockets() as sockets:
        with pytest.raises(BadInput, match="TCP needs keys"):
            sockets.publisher(endpoint, 16)
        with pytest.raises(BadInput, match="TCP needs keys"):
            sockets.subscriber([endpoint], [b""], 16)


def test_port_in_use_is_a_fault(plant: Plant) -> None:
    """A TCP port that another program holds is told with the address."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(plant.frames.rpartition(":")[2])))
        holder.listen()
        with pytest.raises(Fault, match=f"cannot bind {plant.frames}") as caught:
            plant.sockets(Role.CAMERA, "a").watched_publisher(plant.frames, 16)
    assert caught.value.name == "endpoint_unusable"


@pytest.mark.parametrize("endpoint", ["udp://127.0.0.1:5000", "ws://127.0.0.1:5000", "pgm://x", "vmci://*"])
def test_other_transports_are_refused(plant: Plant, endpoint: str) -> None:
    """There is no third way in."""
    with pytest.raises(BadInput, match=r"neither ipc:// nor tcp://"):
        plant.sockets(Role.RESULTS).subscriber([endpoint], [b""], 16)


def test_service_cannot_bind_the_endpoint_of_another(plant: Plant) -> None:
    """A camera that is configured as the detector says so at the start."""
    with pytest.raises(BadInput, match="is detector's; camera-a cannot bind it"):
        plant.sockets(Role.CAMERA, "a").publisher(plant.verdicts, 16)


@pytest.mark.parametrize("mode", [0o751, 0o755, 0o777, 0o1777])
def test_socket_directory_open_to_others_is_refused(runtime_dir: Path, mode: int) -> None:
    """One line with mode and directory, at both ends."""
    (runtime_dir / "run").mkdir()
    (runtime_dir / "run").chmod(mode)
    with Sockets() as sockets:
        with pytest.raises(BadInput, match=rf"run: has mode {mode:04o}.*make it 0750"):
            sockets.publisher(f"ipc://{runtime_dir}/run/x.sock", 16)
        with pytest.raises(BadInput, match=rf"run: has mode {mode:04o}.*make it 0750"):
            sockets.subscriber([f"ipc://{runtime_dir}/run/x.sock"], [b""], 16)
    assert list((runtime_dir / "run").iterdir()) == []
