"""The chaos campaign: its account finds what is planted, and a short one over the real services holds."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos.audit import Audit, Loss, Row, Shown, audited
from benchmarks.chaos.campaign import run_campaign
from edge.messages import FaultCode
from edge.plc.registers import LineImage, ResultCode, safe_state

LINE, EPOCH = "line0", 7
S = 1_000_000_000
WATCHDOG_S = 0.6
GOOD = LineImage(
    ready=True,
    result_valid=True,
    result_ok=True,
    seq=1,
    part_id=4711,
    result_code=ResultCode.OK,
    score=2500,
    threshold=5000,
)
SAFE = safe_state(GOOD, FaultCode.CAMERA_LOST)


def row(seq: int, result: str = "OK", epoch: int = EPOCH) -> Row:
    return Row(LINE, epoch, seq, result, 4711, 2500, 5000)


def shown(seconds: float, image: LineImage, heartbeat: int = 0) -> Shown:
    return Shown(LINE, round(seconds * S), dataclasses.replace(image, heartbeat=heartbeat))


def beating(until_s: float, image: LineImage, from_s: float = 0.0) -> list[Shown]:
    """A write every 0.2 s, each with the next heartbeat."""
    steps = range(round(from_s / 0.2), round(until_s / 0.2))
    return [shown(0.2 * step, image, heartbeat=step + 1) for step in steps]


def account(
    record: list[Row], history: list[Shown] | None = None, losses: list[Loss] | None = None, captured: int = 3
) -> Audit:
    return audited({(LINE, EPOCH): captured}, record, history or [], losses or [], WATCHDOG_S)


def test_every_part_with_one_verdict_holds() -> None:
    """Three parts, three rows, and the OK of one of them shown."""
    audit = account([row(0), row(1), row(2, "FAULT")], [shown(1, GOOD)])
    assert audit.holds
    assert (audit.captured, audit.ok_shown) == (3, 1)


def test_part_without_verdict_is_found() -> None:
    """A row less than parts."""
    audit = account([row(0), row(2)])
    assert audit.missing == ((LINE, EPOCH, 1),)
    assert not audit.holds


def test_part_of_another_epoch_is_no_verdict_of_this_one() -> None:
    """The same number after a restart of the camera is another part."""
    audit = account([row(0), row(1, epoch=8), row(2)])
    assert (audit.missing, audit.strange) == (((LINE, EPOCH, 1),), ((LINE, 8, 1),))


def test_part_with_two_verdicts_is_found() -> None:
    """A row more than parts."""
    audit = account([row(0), row(1), row(1, "NG"), row(2)])
    assert audit.duplicates == ((LINE, EPOCH, 1),)
    assert not audit.holds


def test_verdict_of_no_part_is_found() -> None:
    """Nobody captured it: somebody's nonsense was believed."""
    audit = account([row(0), row(1), row(2), row(3)])
    assert audit.strange == ((LINE, EPOCH, 3),)
    assert not audit.holds


@pytest.mark.parametrize("result", ["NG", "FAULT"])
def test_ok_shown_of_a_part_that_is_not_ok_is_found(result: str) -> None:
    """The registers say OK and the record does not."""
    audit = account([row(0, "FAULT"), row(1, result), row(2, "FAULT")], [shown(1, GOOD)])
    assert [each.image.seq for each in audit.wrong_ok] == [1]
    assert not audit.holds


def test_ok_code_without_its_bit_is_found_too() -> None:
    """A PLC may look at either register."""
    half = dataclasses.replace(GOOD, result_ok=False)
    assert account([row(0), row(1, "NG"), row(2)], [shown(1, half)]).wrong_ok


def test_ok_with_another_score_is_another_part() -> None:
    """Registers have no epoch: the score tells parts of the same number apart."""
    other = dataclasses.replace(GOOD, score=2501)
    assert account([row(0), row(1), row(2)], [shown(1, other)]).wrong_ok


def delay(history: list[Shown], at_s: float, until_s: float = 100.0) -> float | None:
    (found,) = account([], history, [Loss("camera", (LINE,), round(at_s * S), round(until_s * S))]).delays
    return found.seconds


def test_delay_runs_from_the_loss_to_the_safe_state() -> None:
    """Lost at 1.0 s, told safe at 1.8 s."""
    history = [*beating(1.8, GOOD), *beating(5.0, SAFE, from_s=1.8)]
    assert delay(history, at_s=1.0) == pytest.approx(0.8)


def test_line_that_is_safe_already_has_no_delay() -> None:
    """A second loss on a line that is not ready takes nothing more away."""
    assert delay(beating(5.0, SAFE), at_s=1.0) == 0.0


def test_heartbeat_that_stands_still_is_safe_after_the_watchdog() -> None:
    """Nothing is written any more after 1.0 s (the last beat at 0.8 s): the PLC knows by 1.4 s."""
    assert delay(beating(1.0, GOOD), at_s=1.0) == pytest.approx(0.4)


def test_writes_with_the_same_heartbeat_do_not_feed_the_watchdog() -> None:
    """A results service that hangs and still writes is a loss as well."""
    stuck = [shown(1.0 + 0.1 * step, GOOD, heartbeat=5) for step in range(50)]
    assert delay([*beating(1.0, GOOD), *stuck], at_s=1.0) == pytest.approx(0.4)


def test_line_that_never_became_safe_is_late() -> None:
    """Ready all the time although its camera was gone: the worst that there is."""
    audit = account([], beating(9.0, GOOD), [Loss("camera", (LINE,), 2 * S, 6 * S)])
    assert [each.seconds for each in audit.late(limit_s=1.0)] == [None]


def test_late_is_above_the_limit_alone() -> None:
    """0.8 s is late for 0.5 s, and not for 1 s."""
    history = [*beating(1.8, GOOD), *beating(5.0, SAFE, from_s=1.8)]
    audit = account([], history, [Loss("camera", (LINE,), S, 5 * S)])
    assert (len(audit.late(0.5)), len(audit.late(1.0))) == (1, 0)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path short enough for unix sockets, which pytest's own is not always."""
    path = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.mark.timeout(400)  # two cores that are busy otherwise start a detector in half a minute
def test_short_campaign_holds(directory: Path) -> None:
    """Ten faults of as many kinds: each part has one verdict, no wrong OK was shown, no service gave up."""
    outcome = run_campaign(directory, "tiny", seconds=300, seed=2666, most_faults=10)
    assert outcome.audit.holds, outcome.audit
    assert not outcome.uncaused, outcome.uncaused
    assert sum(outcome.faults.values()) == 10
    assert outcome.results["OK"] > 0
    assert outcome.audit.ok_shown > 0
