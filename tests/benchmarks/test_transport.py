"""The transport benchmark: it transfers real frames between real processes, and its arithmetic is right."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from benchmarks.suite import Effort
from benchmarks.transport import BENCHMARK, Contender, medians, memcpy_gb_s, paced_row
from benchmarks.transport_ends import Load, Transfer, Usage, Way, transfer

MB = 1_000_000


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A directory with a path short enough for unix sockets, which pytest's own is not always."""
    directory = Path(tempfile.mkdtemp(prefix="alfa-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


def transferred(arrived: int, seconds: float, cpu_s: float, latencies_ms: tuple[float, ...] = ()) -> Transfer:
    used = Usage(cpu_s / 2, 10 * arrived, 100)
    return Transfer(arrived, arrived, seconds, used, used, latencies_ms)


@pytest.mark.parametrize("way", get_args(Way))
def test_every_frame_arrives_whole(runtime_dir: Path, way: Way) -> None:
    """Each way passes real frames, large enough for shared memory, and none is lost or torn."""
    done = transfer(Load(way, 600, 640, seconds=0.05), runtime_dir)
    assert done.sent == done.arrived == len(done.latencies_ms) >= 1


def test_nothing_is_left_in_shared_memory(runtime_dir: Path) -> None:
    """A transfer's slots go with it."""
    transfer(Load("shared", 600, 640, seconds=0.05), runtime_dir)
    assert list(Path("/dev/shm").glob(f"alfa-{runtime_dir.name}*")) == []


def test_transfer_that_is_not_what_it_is_called_fails(runtime_dir: Path) -> None:
    """Frames that went through the socket are no figure of shared memory; nothing is left of them either."""
    in_the_way = Path("/dev/shm") / f"alfa-{runtime_dir.name}-left"
    in_the_way.mkdir()
    try:
        with pytest.raises(RuntimeError, match="an end of the transfer failed"):
            transfer(Load("shared", 600, 640, seconds=0.05), runtime_dir)
    finally:
        in_the_way.rmdir()


def test_rate_is_held() -> None:
    """15 of 30 frames in a second are half the rate, and the cores follow from the frames that were sent."""
    load = Load("shared", 1, 1, seconds=1.0, rate_hz=30)
    row = paced_row(Contender("x", "shared", True), transferred(15, 1.2, 0.3, (1.0,) * 14 + (9.0,)), load)
    assert (row.value, row.target) == (15.0, ">= 30 frames/s")
    assert row.note.startswith("15 of 30 frames; 0.30 cores; capture to arrival 1 ms, at most 9;")


def test_medians_are_over_the_rounds() -> None:
    """Of 10, 20 and 60 frames/s of a megabyte it is 20: 0.02 GB/s; 20 pages a frame."""
    taken = [transferred(frames, 1.0, cpu_s=0.1) for frames in (10, 20, 60)]
    found = medians(taken, MB)
    assert (found.frames_s, found.gb_s, found.cpu_ms) == (20, 0.02, 5.0)
    assert found.note == "at most 100 + 100 MB of memory, 20 page faults a frame"


def test_memcpy_copies_by_one_thread_and_by_two() -> None:
    """Two figures, both above nothing."""
    assert all(gb_s > 0 for gb_s in memcpy_gb_s(1 << 16, rounds=1))


@pytest.mark.timeout(400)  # 34 processes, one pair after the other
def test_all_rows_are_there() -> None:
    """Per size memcpy, five ways and their CPU time (the smallest frame is not shared); the rate thrice."""
    rows = BENCHMARK.run(Effort(quick=True, seconds=0.1))
    names = [row.what for row in rows]
    assert len(names) == len(set(names)) == (2 + 4 + 4) + 2 * (2 + 5 + 5 + 1) + 3
    assert all(row.value == row.value for row in rows)
    assert {row.target for row in rows} == {"", ">= 1.5 GB/s sustained", ">= 30 frames/s"}
