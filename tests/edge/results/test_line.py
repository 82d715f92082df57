"""What the PLC is shown of a line, state by state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.messages import Beat, FaultCode, Result, ServiceState, Timings
from edge.plc.registers import ResultCode
from edge.results.alarm import OpenAlarms
from edge.results.line import Line
from edge.settings import LineSettings, ResultsSettings

if TYPE_CHECKING:
    from tests.edge.results.conftest import MakeVerdict

SETTINGS = LineSettings.model_validate(
    {"source": {"kind": "synthetic"}, "prompts": "generic", "alarm": {"k": 2, "n": 3}}
)


def hear(line: Line, state: ServiceState = ServiceState.READY, now_s: float = 10.0) -> None:
    line.camera.hear(Beat("camera", "line1", state, 1, {}), now_s)
    line.detector.hear(Beat("detector", "line1", state, 1, {}), now_s)
    line.camera.is_lost(now_s)
    line.detector.is_lost(now_s)


@pytest.fixture
def line() -> Line:
    """Camera and detector are alive and ready."""
    line = Line("line1", SETTINGS, ResultsSettings(), epoch=5)
    line.ledger.open(7, [], 0, now_s=10.0)
    hear(line)
    return line


def test_before_the_first_beat() -> None:
    """Safe, and nothing is latched: nothing was lost."""
    line = Line("line1", SETTINGS, ResultsSettings(), epoch=5)
    image = line.telegram().image
    assert (image.ready, image.result_ok, image.fault) == (False, False, True)
    assert image.fault_code == FaultCode.DETECTOR_LOST
    hear(line)
    image = line.telegram().image
    assert (image.ready, image.fault, image.result_code) == (True, False, ResultCode.NONE)


def test_an_ok_part(line: Line, make_verdict: MakeVerdict) -> None:
    """Every register that comes from the verdict."""
    line.show(
        make_verdict(
            2**32 + 5, part_id="4711", score=0.25, threshold=0.5, recipe=12, timings=Timings(total=48.4)
        )
    )
    image = line.telegram().image
    assert (image.ready, image.result_valid, image.result_ok) == (True, True, True)
    assert (image.seq, image.part_id, image.result_code) == (5, 4711, ResultCode.OK)
    assert (image.score, image.threshold, image.recipe, image.judged_ms) == (2500, 5000, 12, 48)
    assert (image.camera_alive, image.detector_alive) == (True, True)


@pytest.mark.parametrize("result", [Result.NG, Result.FAULT])
def test_other_results_are_not_ok(line: Line, make_verdict: MakeVerdict, result: Result) -> None:
    """The OK bit is for OK parts alone."""
    line.show(make_verdict(1, result))
    image = line.telegram().image
    assert (image.result_valid, image.result_ok) == (True, False)
    assert image.result_code == ResultCode[result.name]


def test_toggle_changes_with_every_verdict(line: Line, make_verdict: MakeVerdict) -> None:
    """Two equal parts in a row are told apart."""
    toggles = []
    for seq in range(4):
        line.show(make_verdict(seq))
        toggles.append(line.telegram().image.toggle)
    assert toggles == [1, 0, 1, 0]


def test_busy_while_parts_wait(line: Line) -> None:
    """From the camera's count to the verdict."""
    line.ledger.captured(7, 1, now_s=10.0)
    assert line.telegram().image.busy
    line.ledger.settle((7, 0), now_s=10.1)
    assert not line.telegram().image.busy


@pytest.mark.parametrize(
    ("silent", "code"), [("camera", FaultCode.CAMERA_LOST), ("detector", FaultCode.DETECTOR_LOST)]
)
def test_loss_withdraws_the_ok(line: Line, make_verdict: MakeVerdict, silent: str, code: FaultCode) -> None:
    """The safe state names what is lost."""
    line.show(make_verdict(1))
    hear(line, now_s=20.0)
    getattr(line, silent).is_lost(30.0)
    image = line.telegram().image
    assert (image.ready, image.result_ok, image.fault) == (False, False, True)
    assert (image.result_code, image.fault_code) == (ResultCode.NONE, code)


def test_failed_record_is_a_loss(line: Line, make_verdict: MakeVerdict) -> None:
    """What cannot be recorded is not passed."""
    line.show(make_verdict(1))
    line.record_failed = True
    image = line.telegram().image
    assert (image.ready, image.result_ok, image.fault_code) == (False, False, FaultCode.RECORD_FAILED)


def test_stopped_plc_is_a_loss(line: Line, make_verdict: MakeVerdict) -> None:
    """No part is passed by a PLC whose program does not run, nor by the first cycle of one that starts."""
    line.show(make_verdict(1))
    line.plc_stopped = True
    image = line.telegram().image
    assert (image.ready, image.result_ok, image.fault_code) == (False, False, FaultCode.PLC_STOPPED)
    assert line.state("") == (ServiceState.FAULT, "plc_stopped")


def test_paused_line(line: Line, make_verdict: MakeVerdict) -> None:
    """Not ready, and no verdict is worth showing."""
    line.paused = True
    image = line.telegram().image
    assert (image.ready, image.paused, image.fault) == (False, True, False)
    assert not line.is_worth_showing(make_verdict(1), replayed=False, now_ns=0)


def test_starting_detector_is_not_ready(line: Line) -> None:
    """It is alive, so nothing is lost, but the PLC must not send parts."""
    hear(line, ServiceState.STARTING)
    image = line.telegram().image
    assert (image.ready, image.fault, image.detector_alive) == (False, False, True)


def test_replayed_verdict_is_shown_only_as_news(line: Line, make_verdict: MakeVerdict) -> None:
    """Not when a later one is shown already; a live one is shown all the same."""
    second = 10**9
    young = make_verdict(5, published_mono_ns=1000 * second)
    assert line.is_worth_showing(young, replayed=True, now_ns=1014 * second)
    line.show(make_verdict(6, published_mono_ns=1001 * second))
    assert not line.is_worth_showing(young, replayed=True, now_ns=1014 * second)
    assert line.is_worth_showing(young, replayed=False, now_ns=1014 * second)


def test_verdict_of_unknown_age_is_no_news(line: Line, make_verdict: MakeVerdict) -> None:
    """Replayed by a detector elsewhere: nobody knows how long the part is gone."""
    assert not line.is_worth_showing(make_verdict(5, published_mono_ns=0), replayed=True, now_ns=1)


@pytest.mark.parametrize("replayed", [False, True])
def test_part_long_gone_is_no_news(line: Line, make_verdict: MakeVerdict, replayed: bool) -> None:
    """Whether its verdict was replayed or waited for a full disk: the PLC has another part before it now."""
    second = 10**9
    verdict = make_verdict(5, published_mono_ns=1000 * second)
    assert line.is_worth_showing(verdict, replayed, now_ns=1014 * second)
    assert not line.is_worth_showing(verdict, replayed, now_ns=1016 * second)


def test_ok_does_not_return_after_a_loss(line: Line, make_verdict: MakeVerdict) -> None:
    """The part it was for has gone by, and no toggle would tell; an NG stays to be seen."""
    line.show(make_verdict(1))
    line.record_failed = True
    line.withdraw_ok_on_loss()
    line.record_failed = False
    image = line.telegram().image
    assert (image.ready, image.result_valid, image.result_ok) == (True, False, False)
    line.show(make_verdict(2, Result.NG))
    line.record_failed = True
    line.withdraw_ok_on_loss()
    assert line.telegram().image.result_code is ResultCode.NG


def test_restored_alarms_are_on(line: Line) -> None:
    """What nobody acknowledged before a restart is still on, and the window goes on where it was."""
    line.restore(OpenAlarms(3), OpenAlarms(1, FaultCode.STALE), [Result.OK, Result.NG, Result.OK])
    telegram = line.telegram()
    assert (telegram.image.ng_alarm, telegram.image.alarm_count) == (True, 3)
    assert (telegram.image.fault, telegram.image.fault_code) == (True, FaultCode.STALE)
    assert (telegram.ng_events, telegram.fault_events) == (3, 1)
    alarm, raises = line.ng.after_part(Result.NG)
    assert raises
    assert alarm.count == 4


def test_states(line: Line) -> None:
    """What the service's own beat says, the worst first."""
    assert line.state("") == (ServiceState.READY, "")
    line.paused = True
    assert line.state("") == (ServiceState.PAUSED, "")
    assert line.state("no connection") == (ServiceState.FAULT, "plc_lost: no connection")
    line.record_failed = True
    assert line.state("no connection") == (ServiceState.FAULT, "record_failed")
    fresh = Line("line1", SETTINGS, ResultsSettings(), epoch=5)
    assert fresh.state("") == (ServiceState.STARTING, "")


def test_free_running_line_is_never_busy() -> None:
    """Its skipped frames are owed nothing."""
    settings = SETTINGS.model_copy(update={"overload": "latest", "free_running": True})
    line = Line("line1", settings, ResultsSettings(), epoch=5)
    line.ledger.open(7, [], 9, now_s=0.0)
    assert not line.telegram().image.busy
