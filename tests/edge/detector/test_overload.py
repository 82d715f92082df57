"""A line faster than its detector, and a listener slower than both: bounded, and no part unanswered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from edge.camera.sources.base import Captured
from edge.messages import FaultReason, Frame, Result
from edge.sockets import VERDICT_HWM, receive

# The bench is a fixture of this directory's conftest; pytest's importlib mode gives it no importable name.
Bench = Any

BURST = 10
BURSTS = 4
PATIENCE_S = 30.0


@pytest.fixture
def permits() -> Iterator[threading.Semaphore]:
    """The model embeds one batch for each permit, and waits for the next one."""
    permits, over = threading.Semaphore(0), threading.Event()

    def wait(module: torch.nn.Module, inputs: object) -> None:
        if isinstance(module, torch.nn.Conv2d) and not over.is_set():
            assert permits.acquire(timeout=PATIENCE_S)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(wait)
    yield permits
    over.set()
    permits.release()
    hook.remove()


def start(bench: Bench, permits: threading.Semaphore, keys: str) -> None:
    """A detector that judges one part at a time and lets four wait."""
    bench.configure("line1", line_keys=keys, detector_keys="max_batch = 1\nqueue = 4")
    permits.release(100)  # for the model's start
    bench.start()
    while permits.acquire(blocking=False):
        pass


def part(number: int) -> Captured:
    return Captured(np.full((24, 32, 3), number, np.uint8), "rgb", f"part-{number}")


@pytest.mark.parametrize(
    ("overload", "reason", "most_waiting"),
    [("every", FaultReason.QUEUE_FULL, 4), ("latest", FaultReason.SKIPPED, 3)],
)
def test_detector_ten_times_too_slow_answers_every_part_once(
    bench: Bench, permits: threading.Semaphore, overload: str, reason: FaultReason, most_waiting: int
) -> None:
    """One part in ten can be judged: the others are FAULT at once, and the queue stays as short as told."""
    start(bench, permits, f'overload = "{overload}"\nmax_age_ms = 14000')
    camera = bench.capture()
    depths = set()
    for burst in range(BURSTS):
        for number in range(BURST):
            camera.take(part(burst * BURST + number))
        bench.counter("received", (burst + 1) * BURST)
        depths.add(bench.beats["line1"].counters["queue"])
        permits.release()
    permits.release(BURST)
    bench.listen(lambda: len(bench.verdicts) == BURST * BURSTS)
    bench.stop()
    assert max(depths) <= most_waiting
    assert Counter(verdict.seq for verdict in bench.verdicts) == Counter(range(BURST * BURSTS))
    told = Counter(verdict.fault for verdict in bench.verdicts)
    assert set(told) == {FaultReason.NONE, reason}
    assert BURSTS <= told[FaultReason.NONE] <= BURSTS + most_waiting + 1


def test_newest_part_is_judged_where_the_newest_wins(bench: Bench, permits: threading.Semaphore) -> None:
    """However many were skipped before it."""
    start(bench, permits, 'overload = "latest"\nmax_age_ms = 14000')
    camera = bench.capture()
    for number in range(BURST):
        camera.take(part(number))
    bench.counter("received", BURST)
    permits.release(BURST)
    assert bench.verdict(BURST - 1).result is not Result.FAULT


def test_parts_that_waited_too_long_are_stale(bench: Bench, permits: threading.Semaphore) -> None:
    """They are answered without the model, so that the line catches up at once; the one in hand is judged."""
    start(bench, permits, "max_age_ms = 1500")
    camera = bench.capture()
    camera.take(part(0))
    bench.counter("received", 1)
    bench.counter("queue", 0)
    for number in range(1, 4):
        camera.take(part(number))
    bench.counter("prepared", 3)
    heard = bench.beats["line1"].wall_ns
    bench.listen(lambda: bench.beats["line1"].wall_ns > heard + 2_000_000_000)
    permits.release()
    assert [bench.verdict(seq).fault for seq in range(4)] == [FaultReason.NONE] + 3 * [FaultReason.STALE]
    bench.stop()
    assert len(bench.verdicts) == 4


def test_subscriber_that_never_reads_costs_no_memory_without_end_and_nobody_a_verdict(
    bench: Bench, make_frame: Callable[..., Frame]
) -> None:
    """Of a quarter more verdicts than may wait for it, it finds the oldest; who reads has all of them."""
    verdicts = VERDICT_HWM + VERDICT_HWM // 4
    bench.start()
    sleeper = bench.verdict_subscriber(hwm=1)
    first = 0
    while not sleeper.poll(100):
        bench.send(make_frame(first))
        bench.verdict(first)
        first += 1
    bench.send(make_frame(first + verdicts))
    bench.counter("frame_lost", verdicts)
    bench.verdict(first + verdicts)
    assert Counter(verdict.seq for verdict in bench.verdicts) == Counter(range(first + verdicts + 1))
    waited = 0
    while sleeper.poll(300):
        receive(sleeper)
        waited += 1
    # What the sockets' own buffers hold comes on top.
    assert VERDICT_HWM <= waited < VERDICT_HWM + VERDICT_HWM // 8
