"""The demo's sums: confusion by hand, and every way in which a run may have gone wrong."""

from __future__ import annotations

import math

import pytest

from edge.demo.audience import Heard
from edge.demo.summary import confusion, latency_percentile, line_problems
from edge.messages import Beat, FaultReason, Result, ServiceState, Timings, Verdict

ALL_WELL = {0: Result.OK, 1: Result.NG}
TRUTH = {0: False, 1: True}


def a_verdict(seq: int, result: Result) -> Verdict:
    if result is Result.FAULT:
        return Verdict("plate", 1, seq, str(seq), result, FaultReason.STALE)
    return Verdict(
        "plate", 1, seq, str(seq), result, score=0.5, threshold=0.5, timings=Timings(total=float(seq))
    )


def heard_of(results: dict[int, Result], captured: int = 2) -> Heard:
    heard = Heard()
    for seq, result in results.items():
        heard.take_verdict(a_verdict(seq, result))
    heard.take_beat(Beat("camera", "plate", ServiceState.READY, 1, {"captured": captured}))
    return heard


def problems(heard: Heard, recorded: dict[int, str], parts: int = 2) -> list[str]:
    return line_problems(heard, parts, recorded, confusion(heard.verdicts, TRUTH))


def test_confusion_by_hand() -> None:
    """Each of five parts lands in its own cell."""
    results = [Result.OK, Result.NG, Result.OK, Result.NG, Result.FAULT]
    verdicts = {seq: a_verdict(seq, result) for seq, result in enumerate(results)}
    found = confusion(verdicts, {0: False, 1: False, 2: True, 3: True, 4: True})
    assert (found.good_ok, found.good_ng, found.defective_ok, found.defective_ng) == (1, 1, 1, 1)
    assert found.not_judged == 1
    assert found.balanced_accuracy == 0.5


def test_all_well() -> None:
    """A run in which everything adds up has no problems."""
    assert problems(heard_of(ALL_WELL), {0: "OK", 1: "NG"}) == []


@pytest.mark.parametrize(
    ("heard", "recorded", "told"),
    [
        (heard_of(ALL_WELL, captured=1), {0: "OK", 1: "NG"}, "captured 1 of 2"),
        (heard_of({0: Result.OK}), {0: "OK", 1: "NG"}, "1 verdicts for 2 parts"),
        (heard_of(ALL_WELL), {0: "OK"}, "1 verdicts recorded"),
        (heard_of(ALL_WELL), {0: "OK", 1: "FAULT"}, "otherwise of parts [1]"),
        (heard_of({0: Result.OK, 1: Result.FAULT}), {0: "OK", 1: "FAULT"}, "1 parts ended as FAULT"),
        (heard_of({0: Result.OK, 1: Result.OK}), {0: "OK", 1: "OK"}, "no better than chance"),
    ],
)
def test_each_problem_is_told(heard: Heard, recorded: dict[int, str], told: str) -> None:
    """What does not add up is named with its figures."""
    assert any(told in problem for problem in problems(heard, recorded))


def test_second_verdict_is_a_problem() -> None:
    """A part that got two verdicts is told, and the first one counts."""
    heard = heard_of(ALL_WELL)
    heard.take_verdict(a_verdict(0, Result.NG))
    assert any("more than one verdict" in problem for problem in problems(heard, {0: "OK", 1: "NG"}))
    assert heard.verdicts[0].result is Result.OK


def test_latency_percentile() -> None:
    """The median of 0 and 1 ms is 0.5 ms; without a judged part there is none."""
    assert latency_percentile(heard_of(ALL_WELL).latencies_ms, 50) == 0.5
    assert math.isnan(latency_percentile([], 50))
