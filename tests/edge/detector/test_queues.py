"""Frames wait in bounds, in order, and none disappears."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.detector.queues import FrameQueues, LineQueue, Overload
from edge.messages import FaultReason, Frame

MakeFrame = Callable[..., Frame]


def queues_of(**lines: LineQueue) -> FrameQueues:
    return FrameQueues(lines)


def seqs(frames: list[Frame]) -> list[int]:
    return [frame.header.seq for frame in frames]


def test_every_refuses_the_newcomer_when_full(make_frame: MakeFrame) -> None:
    """Under `every` the part that finds no room is the FAULT; those that wait are judged."""
    queue = LineQueue(1, "every")
    queue.put(make_frame(0))
    displaced = queue.put(make_frame(1))
    assert displaced is not None
    assert (displaced.frame.header.seq, displaced.reason) == (1, FaultReason.QUEUE_FULL)
    assert queue.take().header.seq == 0


def test_latest_skips_the_waiting_frame(make_frame: MakeFrame) -> None:
    """Under `latest` the newest frame wins, whatever the capacity."""
    queue = LineQueue(10, "latest")
    queue.put(make_frame(0))
    displaced = queue.put(make_frame(1))
    assert displaced is not None
    assert (displaced.frame.header.seq, displaced.reason) == (0, FaultReason.SKIPPED)
    assert queue.take().header.seq == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    capacity=st.integers(1, 4),
    overload=st.sampled_from(["every", "latest"]),
    steps=st.lists(st.booleans(), max_size=40),
)
def test_what_goes_in_comes_out_once(
    make_frame: MakeFrame, capacity: int, overload: Overload, steps: list[bool]
) -> None:
    """Taken, displaced and still waiting frames together are the frames put in; taken ones in order."""
    queue = LineQueue(capacity, overload)
    taken: list[int] = []
    displaced: list[int] = []
    put = 0
    for is_put in steps:
        if is_put:
            out = queue.put(make_frame(put))
            put += 1
            displaced += [] if out is None else [out.frame.header.seq]
        elif queue:
            taken.append(queue.take().header.seq)
        assert len(queue) <= (capacity if overload == "every" else 1)
    taken += [queue.take().header.seq for _ in range(len(queue))]
    assert taken == sorted(taken)
    assert sorted(taken + displaced) == list(range(put))


def test_lines_take_turns_in_a_batch(make_frame: MakeFrame) -> None:
    """A fast line cannot crowd out a slow one."""
    queues = queues_of(fast=LineQueue(9, "every"), slow=LineQueue(9, "every"))
    for seq in range(5):
        queues.put(make_frame(seq, line="fast"))
    queues.put(make_frame(0, line="slow"))
    batch = queues.take(most=3, wait_s=0)
    assert sorted(frame.header.line for frame in batch) == ["fast", "fast", "slow"]


def test_a_batch_is_bounded(make_frame: MakeFrame) -> None:
    """The rest waits for the next one, in order."""
    queues = queues_of(line1=LineQueue(9, "every"))
    for seq in range(3):
        queues.put(make_frame(seq))
    assert seqs(queues.take(most=2, wait_s=0)) == [0, 1]
    assert seqs(queues.take(most=2, wait_s=0)) == [2]


def test_a_batch_that_is_full_does_not_wait(make_frame: MakeFrame) -> None:
    """The waiting time is for filling a batch, not a delay."""
    queues = queues_of(line1=LineQueue(9, "every"))
    for seq in range(2):
        queues.put(make_frame(seq))
    begun = time.monotonic()
    queues.take(most=2, wait_s=30)
    assert time.monotonic() - begun < 10


def test_a_batch_waits_for_more_frames(make_frame: MakeFrame) -> None:
    """A frame that comes within the waiting time is in the same batch."""
    queues = queues_of(line1=LineQueue(9, "every"))
    queues.put(make_frame(0))
    second = threading.Timer(0.01, queues.put, args=[make_frame(1)])
    second.start()
    assert seqs(queues.take(most=2, wait_s=30)) == [0, 1]
    second.join()


def test_closing_gives_back_what_waits(make_frame: MakeFrame) -> None:
    """The worker gets nothing more, and the frames can be accounted for."""
    queues = queues_of(line1=LineQueue(9, "every"))
    queues.put(make_frame(0))
    assert seqs(queues.close()) == [0]
    assert queues.take(most=1, wait_s=30) == []


def test_closing_wakes_a_waiting_worker() -> None:
    """A worker without frames ends too."""
    queues = queues_of(line1=LineQueue(9, "every"))
    batches: list[list[Frame]] = []
    worker = threading.Thread(target=lambda: batches.append(queues.take(most=1, wait_s=0)))
    worker.start()
    queues.close()
    worker.join(timeout=10)
    assert batches == [[]]
