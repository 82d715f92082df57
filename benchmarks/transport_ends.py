"""The two ends of a transfer of frames, each in a process of its own, by our code or by what others write."""

from __future__ import annotations

import math
import multiprocessing
import re
import resource
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import zmq

from alfa.heap import keep_freed_memory
from edge.camera.pacer import Pacer
from edge.camera.publisher import FrameSink
from edge.camera.sources.base import Captured
from edge.detector.frame_source import FrameSource
from edge.heart import Heart
from edge.log_lines import configure_logging
from edge.messages import decode_frame_header, frame_topic
from edge.rate_limited_log import RateLimitedLog
from edge.ring import FrameRing
from edge.sockets import FRAME_HWM, Sockets
from edge.speakers import Speakers

Way = Literal["shared", "socket", "multipart", "pickle"]
Pixels = npt.NDArray[np.uint8]

_LINE = "line1"
_TOPIC = frame_topic(_LINE)
# Frames on their way when there is no other pace: enough to keep both ends busy.
_AHEAD = 3
_WARM_UP = 8
_PAGE = 4096
_SEQ_BYTES = 8
_RING_BYTES = 512 << 20
_PATIENCE_MS = 20_000
_START, _STOP = b"start", b"stop"


@dataclass(frozen=True, slots=True)
class Load:
    """What is transferred.

    Attributes:
        way: of the pixels.
        height: of a frame, in pixels.
        width: likewise; three channels.
        seconds: how long.
        rate_hz: frames a second; 0 as fast as they are taken.
        kept_heap: whether both processes keep freed memory (`alfa.heap`), as our services do.
    """

    way: Way
    height: int
    width: int
    seconds: float
    rate_hz: float = 0.0
    kept_heap: bool = True

    @property
    def frame_bytes(self) -> int:
        """Of one frame."""
        return self.height * self.width * 3


@dataclass(frozen=True, slots=True)
class Usage:
    """What an end took, from its start to its end.

    Attributes:
        cpu_s: user and system time.
        faults: pages that the kernel had to provide.
        peak_mb: most resident memory beyond that of the program as it began, shared pages included, in 10^6
            bytes.
    """

    cpu_s: float
    faults: int
    peak_mb: float

    def since(self, before: Usage, began_mb: float) -> Usage:
        """The difference; memory's peak is above `began_mb`."""
        return Usage(self.cpu_s - before.cpu_s, self.faults - before.faults, self.peak_mb - began_mb)


@dataclass(frozen=True, slots=True)
class Transfer:
    """What became of a load.

    Attributes:
        sent: frames.
        arrived: of them, each checked to be whole.
        seconds: from the first to the last.
        sender: its usage.
        receiver: its usage.
        latencies_ms: capture to arrival, of each that arrived.
    """

    sent: int
    arrived: int
    seconds: float
    sender: Usage
    receiver: Usage
    latencies_ms: tuple[float, ...]

    @property
    def cpu_ms_a_frame(self) -> float:
        """Of both ends together."""
        return 1000 * (self.sender.cpu_s + self.receiver.cpu_s) / self.arrived


class Sending(Protocol):
    """One way to send frames."""

    @property
    def shared(self) -> int:
        """Frames that went through shared memory so far."""

    def open(self) -> None:
        """Wait for the other end."""

    def send(self, pixels: Pixels) -> None:
        """Send one frame; `pixels` are not changed before it has arrived."""

    def close(self) -> None:
        """Leave nothing behind."""


class Receiving(Protocol):
    """The other end of it."""

    socket: zmq.Socket[bytes]

    def receive(self) -> Pixels | None:
        """The next frame, if one is there."""


def transfer(load: Load, directory: Path) -> Transfer:
    """Send frames from one new process to another until the time is over.

    Args:
        load: what, how and how long.
        directory: for sockets; its path must be short.

    Raises:
        RuntimeError: an end failed, or a frame did not arrive whole.
    """
    context = multiprocessing.get_context("spawn")
    ends = []
    for body in (_send, _receive):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=body, args=(load, directory, theirs), daemon=True)
        process.start()
        theirs.close()
        ends.append((process, ours))
    try:
        sent, seconds, sender, latencies = ends[0][1].recv()
        receiver = ends[1][1].recv()
    except EOFError as error:
        raise RuntimeError("an end of the transfer failed; what it said is above") from error
    finally:
        for process, _ in ends:
            process.terminate()
            process.join()
    return Transfer(sent, len(latencies), seconds, sender, receiver, tuple(latencies))


def _send(load: Load, directory: Path, result: Connection) -> None:
    began_mb = _memory_mb("VmRSS")
    if load.kept_heap:
        keep_freed_memory()
    with Sockets() as sockets, zmq.Context() as context, context.socket(zmq.PAIR) as control:
        sending = _sending(load.way, sockets, directory)
        control.bind(f"ipc://{directory}/control")
        pacing = _Pacing(load, sending, control)
        sending.open()
        pacing.pass_frames(_WARM_UP)
        shared_before = sending.shared
        control.send(_START)
        before = usage()
        begun = time.monotonic()
        pacing.pass_seconds(load.seconds)
        seconds = time.monotonic() - begun
        control.send(_STOP)
        used = usage().since(before, began_mb)
        shared = sending.shared - shared_before
        sending.close()
        if load.way == "shared" and shared != pacing.sent:
            raise RuntimeError(f"only {shared} of {pacing.sent} frames went through shared memory")
        result.send((pacing.sent, seconds, used, pacing.latencies_ms))


class _Pacing:
    """Sends from a pool of frames, none of which is changed before it has arrived."""

    def __init__(self, load: Load, sending: Sending, control: zmq.Socket[bytes]) -> None:
        rng = np.random.default_rng(0)
        shape = (load.height, load.width, 3)
        noise = rng.integers(0, 256, shape, np.uint8)
        self._free: deque[Pixels] = deque(noise.copy() for _ in range(2 * _AHEAD))
        self._rate_hz = load.rate_hz
        self._sending = sending
        self._control = control
        self._on_the_way: dict[int, tuple[Pixels, int]] = {}
        self._seq = 0
        self.sent = 0
        self.latencies_ms: list[float] = []

    def pass_frames(self, count: int) -> None:
        """So many frames, each after the one before has arrived."""
        for _ in range(count):
            self._send_one()
            self._drain()
        self.sent = 0
        self.latencies_ms.clear()

    def pass_seconds(self, seconds: float) -> None:
        """As many frames as go, or as the rate says; what is late is left out, as a camera's is."""
        pacer = Pacer(self._rate_hz, begun := time.monotonic())
        while not self.sent or time.monotonic() < begun + seconds:
            self._wait(pacer)
            pacer.taken()
            if self._free:
                self._send_one()
        self._drain()

    def _send_one(self) -> None:
        pixels = self._free.popleft()
        mark = self._seq.to_bytes(_SEQ_BYTES, "little")
        flat = pixels.reshape(-1)
        flat[:_SEQ_BYTES] = flat[-_SEQ_BYTES:] = np.frombuffer(mark, np.uint8)
        self._on_the_way[self._seq] = (pixels, time.monotonic_ns())
        self._sending.send(pixels)
        self._seq += 1
        self.sent += 1

    def _wait(self, pacer: Pacer) -> None:
        """Take what has arrived until the next frame is due; without a rate, until one may be sent."""
        while self._control.poll(0):
            self._arrived()
        while (wait_s := pacer.wait_s()) > 0:
            if self._control.poll(math.ceil(1000 * wait_s)):
                self._arrived()
        while not self._rate_hz and len(self._on_the_way) >= _AHEAD:
            self._await_one()

    def _drain(self) -> None:
        while self._on_the_way:
            self._await_one()

    def _await_one(self) -> None:
        if not self._control.poll(_PATIENCE_MS):
            raise RuntimeError("frames do not arrive")
        self._arrived()

    def _arrived(self) -> None:
        message = self._control.recv()
        seq, at_ns = (int.from_bytes(part, "little") for part in (message[:_SEQ_BYTES], message[_SEQ_BYTES:]))
        pixels, sent_ns = self._on_the_way.pop(seq)
        self._free.append(pixels)
        self.latencies_ms.append((at_ns - sent_ns) / 1e6)


def _receive(load: Load, directory: Path, result: Connection) -> None:
    began_mb = _memory_mb("VmRSS")
    if load.kept_heap:
        keep_freed_memory()
    with Sockets() as sockets, zmq.Context() as context, context.socket(zmq.PAIR) as control:
        control.connect(f"ipc://{directory}/control")
        receiving = _receiving(load.way, sockets, directory)
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        poller.register(receiving.socket, zmq.POLLIN)
        before = usage()
        while True:
            poller.poll()
            while (pixels := receiving.receive()) is not None:
                arrived_ns = time.monotonic_ns()
                control.send(_checked(pixels) + arrived_ns.to_bytes(_SEQ_BYTES, "little"))
                del pixels
            if control.poll(0):
                if control.recv() == _STOP:
                    break
                before = usage()
        result.send(usage().since(before, began_mb))


def _checked(pixels: Pixels) -> bytes:
    """The frame's number, from its first bytes; the last are the same, and each page is read once.

    Raises:
        RuntimeError: they are not.
    """
    flat = pixels.reshape(-1)
    flat[::_PAGE].max()
    first, last = flat[:_SEQ_BYTES].tobytes(), flat[-_SEQ_BYTES:].tobytes()
    if first != last:
        raise RuntimeError("a frame arrived torn")
    return first


class _ProductSender:
    def __init__(self, sockets: Sockets, directory: Path, *, shared: bool) -> None:
        publisher = sockets.watched_publisher(f"ipc://{directory}/frames", FRAME_HWM)
        heart = Heart("camera", _LINE, 1)
        log = configure_logging("camera")
        ring = FrameRing(_stem(directory), _RING_BYTES) if shared else None
        self._sink = FrameSink(publisher, heart, log, buffer_bytes=_RING_BYTES, ring=ring)
        self._counters = heart.counters

    @property
    def shared(self) -> int:
        return self._counters["shared"]

    def open(self) -> None:
        while not self._sink.heard:
            self._sink.wait(1)

    def send(self, pixels: Pixels) -> None:
        self._sink.take(Captured(pixels, "bgr"))

    def close(self) -> None:
        self._sink.close()


class _ProductReceiver:
    def __init__(self, sockets: Sockets, directory: Path, *, shared: bool) -> None:
        endpoint = f"ipc://{directory}/frames"
        log = configure_logging("detector")
        cameras = Speakers.subscribed(sockets, {endpoint: [_TOPIC]}, FRAME_HWM, RateLimitedLog(log))
        (self.socket,) = cameras.sockets
        stems = {_LINE: _stem(directory)} if shared else {}
        self._source = FrameSource(cameras, stems, log)

    def receive(self) -> Pixels | None:
        self._source.tell()
        for _, parts in self._source.take(most=1):
            return self._source.frame(decode_frame_header(parts), parts).pixels
        return None


class _PlainSender:
    shared = 0

    def __init__(self, sockets: Sockets, directory: Path, *, pickled: bool) -> None:
        self._socket = sockets.watched_publisher(f"ipc://{directory}/frames", FRAME_HWM)
        self._pickled = pickled

    def open(self) -> None:
        self._socket.recv()

    def send(self, pixels: Pixels) -> None:
        if self._pickled:
            self._socket.send_pyobj({"line": _LINE, "pixels": pixels})
        else:
            self._socket.send_multipart([_TOPIC, repr(pixels.shape).encode(), pixels.data], copy=False)

    def close(self) -> None:
        self._socket.close()


class _PlainReceiver:
    def __init__(self, sockets: Sockets, directory: Path, *, pickled: bool) -> None:
        topics = [b""] if pickled else [_TOPIC]
        self.socket = sockets.subscriber([f"ipc://{directory}/frames"], topics, FRAME_HWM)
        self._pickled = pickled

    def receive(self) -> Pixels | None:
        try:
            if self._pickled:
                found: Pixels = self.socket.recv_pyobj(zmq.DONTWAIT)["pixels"]
                return found
            return np.frombuffer(self.socket.recv_multipart(zmq.DONTWAIT, copy=False)[2].buffer, np.uint8)
        except zmq.Again:
            return None


def _sending(way: Way, sockets: Sockets, directory: Path) -> Sending:
    if way in ("shared", "socket"):
        return _ProductSender(sockets, directory, shared=way == "shared")
    return _PlainSender(sockets, directory, pickled=way == "pickle")


def _receiving(way: Way, sockets: Sockets, directory: Path) -> Receiving:
    if way in ("shared", "socket"):
        return _ProductReceiver(sockets, directory, shared=way == "shared")
    return _PlainReceiver(sockets, directory, pickled=way == "pickle")


def _stem(directory: Path) -> Path:
    # In the machine's tmpfs, as a line's own frames are; named after the transfer's own directory.
    return Path("/dev/shm") / f"alfa-{directory.name}"  # noqa: S108


def usage() -> Usage:
    """Of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss: that one counts what the parent was before this program replaced it.
    return Usage(used.ru_utime + used.ru_stime, used.ru_minflt, _memory_mb("VmHWM"))


def _memory_mb(field: str) -> float:
    (kilobytes,) = re.findall(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024 / 1e6
