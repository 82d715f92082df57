"""One line's parts are accounted for and counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.detector.line import Line
from edge.detector.queues import Displaced
from edge.detector.verdicts import Stamp
from edge.messages import (
    FaultReason,
    Frame,
    Result,
    Verdict,
    decode_beat,
    encode_beat,
    encode_verdict,
    missing_verdict,
)

MakeFrame = Callable[..., Frame]
STAMP = Stamp(judged_by="main", recipe=3, prompts="p", model="m")


def line(free_running: bool = False) -> Line:
    return Line("line1", epoch=9, stamp=STAMP, history=10, free_running=free_running)


def test_a_gap_is_owed_as_frame_lost(make_frame: MakeFrame) -> None:
    """Each missing seq becomes one FAULT that says with what the line judges."""
    accounts = line()
    accounts.arrived(make_frame(0).header)
    accounts.arrived(make_frame(3).header)
    lost = list(accounts.losses(10))
    assert [verdict.seq for verdict in lost] == [1, 2]
    assert {(v.result, v.fault, v.epoch, v.recipe, v.prompts) for v in lost} == {
        (Result.FAULT, FaultReason.FRAME_LOST, 1, 3, "p")
    }
    assert not accounts.owes_losses


def test_a_large_gap_is_told_in_pieces(make_frame: MakeFrame) -> None:
    """At most as many as asked for at a time, and all of them in the end."""
    accounts = line()
    accounts.arrived(make_frame(0).header)
    accounts.arrived(make_frame(8).header)
    pieces = []
    while accounts.owes_losses:
        pieces.append([verdict.seq for verdict in accounts.losses(3)])
    assert pieces == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_duplicate_is_counted_and_not_taken(make_frame: MakeFrame) -> None:
    """It is neither received again nor owed anything."""
    accounts = line()
    accounts.arrived(make_frame(0).header)
    assert not accounts.arrived(make_frame(0).header)
    assert (accounts.heart.counters["duplicate"], accounts.heart.counters["received"]) == (1, 1)


@pytest.mark.parametrize("reason", [FaultReason.SKIPPED, FaultReason.QUEUE_FULL])
def test_a_part_that_found_no_room_is_a_fault(make_frame: MakeFrame, reason: FaultReason) -> None:
    """It is counted when it goes out, as every verdict."""
    accounts = line()
    verdict = accounts.displaced(Displaced(make_frame(4), reason))
    assert verdict is not None
    assert (verdict.result, verdict.seq, verdict.fault, verdict.recipe) == (Result.FAULT, 4, reason, 3)
    assert accounts.heart.counters[str(reason)] == 0


def test_a_skipped_frame_of_a_free_running_line_is_only_counted(make_frame: MakeFrame) -> None:
    """Where frames are not parts, a skipped one is no fault."""
    accounts = line(free_running=True)
    assert accounts.displaced(Displaced(make_frame(0), FaultReason.SKIPPED)) is None
    assert accounts.heart.counters["skipped"] == 1


def test_verdicts_are_counted_by_result() -> None:
    """OK, NG and each reason of a FAULT have counters of their own."""
    accounts = line()
    for verdict in (
        Verdict("line1", 1, 0, "", Result.OK, score=0.1, threshold=0.5),
        Verdict("line1", 1, 1, "", Result.NG, score=0.9, threshold=0.5),
        Verdict("line1", 1, 2, "", Result.FAULT, FaultReason.STALE),
    ):
        accounts.published(verdict, encode_verdict(verdict))
    counters = accounts.heart.counters
    assert [counters[name] for name in ("judged", "ok", "ng", "fault", "stale")] == [2, 1, 1, 1, 1]


def test_an_emptied_prompt_side_is_counted() -> None:
    """A part judged with all prompts of a side, for want of any that tell, shows in the beat."""
    accounts = line()
    for seq, emptied in enumerate((True, False, True)):
        verdict = Verdict("line1", 1, seq, "", Result.OK, score=0.1, threshold=0.5, side_was_empty=emptied)
        accounts.published(verdict, encode_verdict(verdict))
    assert accounts.heart.counters["side_was_empty"] == 2


def test_a_beat_with_every_counter_is_decoded() -> None:
    """Whatever happens on a line, the beat holds no more counters than a listener takes."""
    accounts = line()
    for seq, reason in enumerate(set(FaultReason) - {FaultReason.NONE}):
        verdict = missing_verdict("line1", 1, seq, reason, "")
        accounts.published(verdict, encode_verdict(verdict))
    for seq, result in enumerate((Result.OK, Result.NG)):
        verdict = Verdict("line1", 1, seq, "", result, score=0.5, threshold=0.5, side_was_empty=True)
        accounts.published(verdict, encode_verdict(verdict))
    beat = accounts.heart.beat()
    assert decode_beat(encode_beat(beat)) == beat
