"""Frames wait in bounds, in order, and none disappears."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.detector.preparing import Prepared, Refusal
from edge.detector.queues import Displaced, FrameQueues, LineQueue, Overload
from edge.messages import FaultReason, Frame

MakeFrame = Callable[..., Frame]


def queues_of(**lines: LineQueue) -> FrameQueues:
    return FrameQueues(lines)


def seqs(frames: list[Frame]) -> list[int]:
    return [frame.header.seq for frame in frames]


def taken_seqs(batch: list[Prepared]) -> list[int]:
    return [prepared.frame.header.seq for prepared in batch]


def made_of(frame: Frame) -> Prepared:
    """A frame as the preparing thread gives it back; what was made of it does not matter here."""
    return Prepared(frame, Refusal(FaultReason.STALE, ""), 0, 0)


def prepare_all(queues: FrameQueues, count: int) -> None:
    """What the preparing thread does, `count` times."""
    for _ in range(count):
        frame = queues.next_unprepared()
        assert frame is not None
        queues.prepared(made_of(frame))


def prepare_first(queue: LineQueue) -> Displaced | None:
    return queue.prepared(made_of(queue.begin()))


def test_every_refuses_the_newcomer_when_full(make_frame: MakeFrame) -> None:
    """Under `every` the part that finds no room is the FAULT; those that wait are judged."""
    queue = LineQueue(1, "every")
    queue.put(make_frame(0))
    displaced = queue.put(make_frame(1))
    assert displaced is not None
    assert (displaced.frame.header.seq, displaced.reason) == (1, FaultReason.QUEUE_FULL)
    prepare_first(queue)
    assert queue.take().frame.header.seq == 0


def test_latest_skips_the_waiting_frame(make_frame: MakeFrame) -> None:
    """Under `latest` the newest unprepared frame wins, whatever the capacity."""
    queue = LineQueue(10, "latest")
    queue.put(make_frame(0))
    displaced = queue.put(make_frame(1))
    assert displaced is not None
    assert (displaced.frame.header.seq, displaced.reason) == (0, FaultReason.SKIPPED)
    prepare_first(queue)
    assert queue.take().frame.header.seq == 1


def test_a_prepared_frame_gives_way_only_to_a_newer_one_that_is_prepared(make_frame: MakeFrame) -> None:
    """Under `latest` a newcomer takes nothing from the judge until there is something newer to judge."""
    queue = LineQueue(1, "latest")
    queue.put(make_frame(0))
    prepare_first(queue)
    assert queue.put(make_frame(1)) is None
    assert queue.ready == 1
    displaced = prepare_first(queue)
    assert displaced is not None
    assert (displaced.frame.header.seq, displaced.reason) == (0, FaultReason.SKIPPED)
    assert queue.take().frame.header.seq == 1


def test_frames_are_judged_though_newer_ones_come_during_every_preparation(make_frame: MakeFrame) -> None:
    """Preparing that takes longer than the time between two frames costs frames, and not all of them."""
    queue = LineQueue(1, "latest")
    queue.put(make_frame(0))
    judged: list[int] = []
    skipped: list[Displaced | None] = []
    for seq in range(1, 9, 2):
        in_preparation = queue.begin()
        skipped += [queue.put(make_frame(seq)), queue.put(make_frame(seq + 1))]
        skipped.append(queue.prepared(made_of(in_preparation)))
        judged.append(queue.take().frame.header.seq)
    assert judged == [0, 2, 4, 6]
    assert [out.frame.header.seq for out in skipped if out is not None] == [1, 3, 5, 7]
    assert seqs(queue.clear()) == [8]


_STEPS = st.lists(st.sampled_from(["put", "begin", "finish", "take", "clear"]), max_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(capacity=st.integers(1, 4), overload=st.sampled_from(["every", "latest"]), steps=_STEPS)
def test_what_goes_in_comes_out_once(
    make_frame: MakeFrame, capacity: int, overload: Overload, steps: list[str]
) -> None:
    """Taken, cleared and displaced frames together are the frames put in, the first two in order.

    Preparing begins and ends at any moment in between, also for a frame that was cleared away meanwhile. What
    waits is known at each step: unprepared, in preparation and prepared, each bounded by itself under
    `latest`, and by the newest.
    """
    queue = LineQueue(capacity, overload)
    unprepared: list[int] = []
    in_preparation: list[int] = []
    prepared: list[int] = []
    at_the_preparer: Frame | None = None
    ended: list[int] = []  # taken or cleared
    displaced: list[int] = []
    put = 0
    for step in [*steps, "clear"]:
        out: Displaced | None = None
        if step == "put":
            out = queue.put(make_frame(put))
            unprepared.append(put)
            put += 1
        elif step == "begin" and at_the_preparer is None and unprepared:
            at_the_preparer = queue.begin()
            in_preparation.append(unprepared.pop(0))
            assert at_the_preparer.header.seq == in_preparation[0]
        elif step == "finish" and at_the_preparer is not None:
            out = queue.prepared(made_of(at_the_preparer))
            prepared += in_preparation
            at_the_preparer, in_preparation = None, []
        elif step == "take" and prepared:
            ended.append(queue.take().frame.header.seq)
            assert ended[-1] == prepared.pop(0)
        elif step == "clear":
            ended += seqs(queue.clear())
            unprepared, in_preparation, prepared = [], [], []
        if out is not None:
            displaced.append(out.frame.header.seq)
            (unprepared if step == "put" else prepared).remove(displaced[-1])
        assert (len(queue), queue.ready) == (
            len(unprepared) + len(in_preparation) + len(prepared),
            len(prepared),
        )
        if overload == "every":
            assert len(queue) <= capacity
        else:
            assert max(len(unprepared), len(in_preparation), len(prepared)) <= 1
            assert out is None or out.frame.header.seq < (unprepared if step == "put" else prepared)[0]
    assert ended == sorted(ended)
    assert sorted(ended + displaced) == list(range(put))


def test_what_is_taken_is_in_hand_until_it_is_settled(make_frame: MakeFrame) -> None:
    """Abandoned before, the batch belongs to whoever abandoned it; settled before, to nobody."""
    queues = queues_of(line1=LineQueue(9, "every"))
    for seq in range(2):
        queues.put(make_frame(seq))
    prepare_all(queues, 2)
    queues.take(most=1, wait_s=0)
    with queues.settling() as is_ours:
        assert is_ours
    queues.take(most=1, wait_s=0)
    assert seqs(queues.abandon()) == [1]
    with queues.settling() as is_ours:
        assert not is_ours


@pytest.mark.parametrize("overload", ["every", "latest"])
def test_every_frame_ends_once_whatever_the_threads_do(make_frame: MakeFrame, overload: Overload) -> None:
    """Three real threads and a close in the middle: displaced, settled, waiting and abandoned are all."""
    queues = queues_of(a=LineQueue(3, overload), b=LineQueue(3, overload))
    settled: list[tuple[str, int]] = []
    displaced: list[tuple[str, int]] = []
    halfway = threading.Event()

    def prepare() -> None:
        while (frame := queues.next_unprepared()) is not None:
            out = queues.prepared(made_of(frame))
            displaced.extend([] if out is None else [key(out.frame)])

    def judge() -> None:
        while batch := queues.take(most=2, wait_s=0):
            with queues.settling() as is_ours:
                settled.extend(key(each.frame) for each in batch if is_ours)
            if len(settled) > 20:
                halfway.set()

    def key(frame: Frame) -> tuple[str, int]:
        return frame.header.line, frame.header.seq

    threads = [threading.Thread(target=body) for body in (prepare, judge)]
    for thread in threads:
        thread.start()
    put: list[tuple[str, int]] = []
    while not halfway.is_set():
        for line in ("a", "b"):
            frame = make_frame(len(put), line=line)
            put.append(key(frame))
            out = queues.put(frame)
            displaced.extend([] if out is None else [key(out.frame)])
    waiting = [key(frame) for frame in queues.close()]
    abandoned = [key(frame) for frame in queues.abandon()]
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(settled + displaced + waiting + abandoned) == sorted(put)


def test_lines_take_turns_in_a_batch(make_frame: MakeFrame) -> None:
    """A fast line cannot crowd out a slow one."""
    queues = queues_of(fast=LineQueue(9, "every"), slow=LineQueue(9, "every"))
    for seq in range(5):
        queues.put(make_frame(seq, line="fast"))
    queues.put(make_frame(0, line="slow"))
    prepare_all(queues, 6)
    batch = queues.take(most=3, wait_s=0)
    assert sorted(prepared.frame.header.line for prepared in batch) == ["fast", "fast", "slow"]


def test_a_batch_is_bounded(make_frame: MakeFrame) -> None:
    """The rest waits for the next one, in order."""
    queues = queues_of(line1=LineQueue(9, "every"))
    for seq in range(3):
        queues.put(make_frame(seq))
    prepare_all(queues, 3)
    assert taken_seqs(queues.take(most=2, wait_s=0)) == [0, 1]
    assert taken_seqs(queues.take(most=2, wait_s=0)) == [2]


def test_a_batch_that_is_full_does_not_wait(make_frame: MakeFrame) -> None:
    """The waiting time is for filling a batch, not a delay."""
    queues = queues_of(line1=LineQueue(9, "every"))
    for seq in range(2):
        queues.put(make_frame(seq))
    prepare_all(queues, 2)
    begun = time.monotonic()
    queues.take(most=2, wait_s=30)
    assert time.monotonic() - begun < 10


def test_lines_take_turns_to_be_prepared(make_frame: MakeFrame) -> None:
    """A slow line's frame is prepared second, not after all frames of a fast one."""
    queues = queues_of(fast=LineQueue(9, "every"), slow=LineQueue(9, "every"))
    for seq in range(5):
        queues.put(make_frame(seq, line="fast"))
    queues.put(make_frame(0, line="slow"))
    prepare_all(queues, 2)
    assert {prepared.frame.header.line for prepared in queues.take(most=9, wait_s=0)} == {"fast", "slow"}


def test_a_frame_that_is_not_prepared_is_not_given_out(make_frame: MakeFrame) -> None:
    """The batch is what is ready; the rest waits its turn."""
    queues = queues_of(line1=LineQueue(9, "every"))
    for seq in range(3):
        queues.put(make_frame(seq))
    prepare_all(queues, 2)
    assert taken_seqs(queues.take(most=3, wait_s=0)) == [0, 1]
    assert queues.depth("line1") == 1


def test_closing_ends_the_preparing(make_frame: MakeFrame) -> None:
    """Nothing is left to prepare, and what was in preparation is among what comes back."""
    queues = queues_of(line1=LineQueue(9, "every"))
    queues.put(make_frame(0))
    frame = queues.next_unprepared()
    assert frame is not None
    assert seqs(queues.close()) == [0]
    queues.prepared(made_of(frame))
    assert queues.next_unprepared() is None
    assert queues.depth("line1") == 0


def test_a_batch_waits_for_more_frames(make_frame: MakeFrame) -> None:
    """A frame of another line that comes within the waiting time is in the same batch."""
    queues = queues_of(line1=LineQueue(9, "every"), line2=LineQueue(9, "every"))
    queues.put(make_frame(0))
    prepare_all(queues, 1)

    def one_more() -> None:
        queues.put(make_frame(1, line="line2"))
        prepare_all(queues, 1)

    second = threading.Thread(target=one_more)
    second.start()
    assert taken_seqs(queues.take(most=3, wait_s=30)) == [0, 1]
    second.join()


def test_a_batch_with_a_frame_of_every_line_does_not_wait(make_frame: MakeFrame) -> None:
    """A line alone has nobody to wait for; its own next part is a period away."""
    queues = queues_of(line1=LineQueue(9, "every"))
    queues.put(make_frame(0))
    prepare_all(queues, 1)
    begun = time.monotonic()
    assert taken_seqs(queues.take(most=8, wait_s=30)) == [0]
    assert time.monotonic() - begun < 10


def test_closing_gives_back_what_waits(make_frame: MakeFrame) -> None:
    """Nobody gets any more, and the frames can be accounted for."""
    queues = queues_of(line1=LineQueue(9, "every"))
    queues.put(make_frame(0))
    assert seqs(queues.close()) == [0]
    assert queues.take(most=1, wait_s=30) == []


def test_closing_wakes_who_waits() -> None:
    """A judge without frames ends too."""
    queues = queues_of(line1=LineQueue(9, "every"))
    batches: list[list[Prepared]] = []
    judge = threading.Thread(target=lambda: batches.append(queues.take(most=1, wait_s=0)))
    judge.start()
    queues.close()
    judge.join(timeout=10)
    assert batches == [[]]


def test_a_batch_is_never_empty_because_its_frame_was_displaced(make_frame: MakeFrame) -> None:
    """Under `latest`, while more is waited for: an empty batch would end the judging thread for good."""
    queues = queues_of(line1=LineQueue(1, "latest"))
    queues.put(make_frame(0))
    prepare_all(queues, 1)
    batches: list[list[int]] = []
    judge = threading.Thread(target=lambda: batches.append(taken_seqs(queues.take(most=2, wait_s=0.2))))
    judge.start()
    put = 1
    while not batches:
        queues.put(make_frame(put))
        prepare_all(queues, 1)
        put += 1
    judge.join()
    assert len(batches[0]) == 1
