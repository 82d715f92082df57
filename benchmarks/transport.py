"""Raw frames from one process to another on one box: our path beside plain memcpy and what others write.

Copies of a frame's bytes:

    shared memory       array -> slot                                                    1, in user space
    through the socket  array -> kernel -> block that ZeroMQ allocates                   2, by the kernel
    pickle              array -> pickle -> message -> kernel -> message -> bytes -> array    at least 6

Nothing else copies: the array goes out as it is (zero-copy send), the detector reads the received block or
the slot where it lies. What a copy costs depends on where it goes: into pages that are mapped already it runs
at the speed of memcpy; a block of 36 MB that is mapped anew for each frame costs 9,200 page faults, each of
which clears its page first. That is why our services keep freed memory (`alfa.heap`), and the rows without
it show what that is worth.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.suite import Benchmark, Effort, Row
from benchmarks.timing import in_turn
from benchmarks.transport_ends import Load, Transfer, Way, transfer
from edge.ring import SMALLEST_SHARED_BYTES

_SIZES = {"640 x 480": (480, 640), "1080p": (1080, 1920), "12 MP": (3072, 4096)}
_LARGEST = "12 MP"
_RATE_HZ = 30.0
_MEMCPY_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Contender:
    """A way that is compared.

    Attributes:
        name: in the table.
        way: of the pixels.
        kept_heap: whether freed memory is kept, as in our services.
    """

    name: str
    way: Way
    kept_heap: bool


_SHARED = Contender("ours, shared memory", "shared", kept_heap=True)
_SOCKET = Contender("ours, through the socket", "socket", kept_heap=True)
_PLAIN_HEAP = Contender("ours, through the socket, C heap as it is", "socket", kept_heap=False)
_MULTIPART = Contender("pyzmq multipart, zero-copy", "multipart", kept_heap=False)
_PICKLE = Contender("pickle over ZeroMQ", "pickle", kept_heap=False)
_CONTENDERS = (_SHARED, _SOCKET, _PLAIN_HEAP, _MULTIPART, _PICKLE)


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians over the rounds of one contender at one size.

    Attributes:
        frames_s: frames a second.
        gb_s: 10^9 bytes a second.
        cpu_ms: of both processes, a frame.
        note: memory and page faults.
    """

    frames_s: float
    gb_s: float
    cpu_ms: float
    note: str


def run(effort: Effort) -> list[Row]:
    """All rows; the contenders take turns."""
    rounds = 1 if effort.quick else 2
    rows: list[Row] = []
    for name, (height, width) in _SIZES.items():
        memcpy = memcpy_gb_s(height * width * 3, 2 if effort.quick else _MEMCPY_ROUNDS)
        # Smaller frames take the socket in any case.
        shared = height * width * 3 >= SMALLEST_SHARED_BYTES
        transfers: dict[Contender, list[Transfer]] = {
            contender: [] for contender in _CONTENDERS if shared or contender is not _SHARED
        }
        for _ in range(rounds):
            for contender, taken in transfers.items():
                load = Load(
                    contender.way, height, width, effort.seconds / rounds, kept_heap=contender.kept_heap
                )
                taken.append(_transferred(load))
        frame_bytes = height * width * 3
        measured = {contender: medians(taken, frame_bytes) for contender, taken in transfers.items()}
        rows += size_rows(name, memcpy, measured)
    return rows + _paced_rows(effort)


def memcpy_gb_s(size: int, rounds: int) -> tuple[float, float]:
    """10^9 bytes a second that are copied between two arrays, by one thread and by two."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    half = size // 2

    def by_two() -> None:
        other = threading.Thread(target=np.copyto, args=(target[half:], source[half:]))
        other.start()
        np.copyto(target[:half], source[:half])
        other.join()

    one, two = in_turn([lambda: np.copyto(target, source), by_two], rounds)
    return size / one.median / 1e9, size / two.median / 1e9


def medians(taken: Sequence[Transfer], frame_bytes: int) -> Measured:
    """Of several transfers of the same load."""
    frames_s = statistics.median(each.arrived / each.seconds for each in taken)
    last = taken[-1]
    faults = (last.sender.faults + last.receiver.faults) / last.arrived
    return Measured(
        frames_s,
        frames_s * frame_bytes / 1e9,
        statistics.median(each.cpu_ms_a_frame for each in taken),
        f"{_memory(last)}, {faults:.0f} page faults a frame",
    )


def size_rows(size: str, memcpy: tuple[float, float], measured: dict[Contender, Measured]) -> list[Row]:
    """The rows of one size of frame.

    Args:
        size: its name.
        memcpy: GB/s of one thread and of two.
        measured: by contender.
    """
    rows = [
        Row(f"{size}: memcpy, {threads}", gb_s, "GB/s")
        for threads, gb_s in zip(("1 thread", "2 threads"), memcpy, strict=True)
    ]
    pickled = measured[_PICKLE]
    for contender, found in measured.items():
        ours = contender in (_SHARED, _SOCKET)
        rows.append(
            Row(
                f"{size}: {contender.name}",
                found.gb_s,
                "GB/s",
                found.gb_s / pickled.gb_s,
                _PICKLE.name,
                ">= 1.5 GB/s sustained" if size == _LARGEST and ours else "",
                f"{found.frames_s:.1f} frames/s, {found.gb_s / memcpy[0]:.0%} of memcpy; {found.note}",
            )
        )
    rows += [
        Row(
            f"{size}: CPU time a frame, {contender.name}",
            found.cpu_ms,
            "ms",
            pickled.cpu_ms / found.cpu_ms,
            _PICKLE.name,
            note="both processes",
        )
        for contender, found in measured.items()
    ]
    if _SHARED not in measured:
        return rows
    shared, socket = measured[_SHARED], measured[_SOCKET]
    rows.append(
        Row(
            f"{size}: what shared memory saves",
            socket.cpu_ms - shared.cpu_ms,
            "ms",
            socket.cpu_ms / shared.cpu_ms,
            "CPU time a frame through our socket",
            note=f"{shared.frames_s / socket.frames_s:.2f} times the frames/s",
        )
    )
    return rows


def _paced_rows(effort: Effort) -> list[Row]:
    height, width = _SIZES[_LARGEST]
    rows = []
    for contender in (_SHARED, _SOCKET, _PICKLE):
        load = Load(contender.way, height, width, effort.seconds, _RATE_HZ, contender.kept_heap)
        rows.append(paced_row(contender, _transferred(load), load))
    return rows


def paced_row(contender: Contender, taken: Transfer, load: Load) -> Row:
    """What arrived of a camera's constant rate; all of it where none was late, whatever the last one took."""
    asked = max(1, round(load.rate_hz * load.seconds))
    share = min(1.0, taken.arrived / asked)
    late = sorted(taken.latencies_ms)
    cores = taken.cpu_ms_a_frame * share * load.rate_hz / 1000
    return Row(
        f"{_LARGEST} at {load.rate_hz:.0f} frames/s: {contender.name}",
        share * load.rate_hz,
        "frames/s",
        target=f">= {load.rate_hz:.0f} frames/s" if contender is not _PICKLE else "",
        note=f"{taken.arrived} of {asked} frames; {cores:.2f} cores; capture to arrival "
        f"{late[len(late) // 2]:.0f} ms, at most {late[-1]:.0f}; {_memory(taken)}",
    )


def _memory(taken: Transfer) -> str:
    return f"at most {taken.sender.peak_mb:.0f} + {taken.receiver.peak_mb:.0f} MB of memory"


def _transferred(load: Load) -> Transfer:
    with tempfile.TemporaryDirectory(prefix="alfa-") as directory:
        return transfer(load, Path(directory))


BENCHMARK = Benchmark("transport", "Raw frames, camera to detector, on one box", run)
