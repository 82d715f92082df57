"""The alarms: k of n against a list, latching and the race of an acknowledge by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.messages import FaultCode, Result
from edge.results.alarm import FaultAlarm, Latch, NgAlarm


def fed(alarm: NgAlarm, *results: Result) -> NgAlarm:
    for result in results:
        alarm, _ = alarm.after_part(result)
    return alarm


@given(st.integers(1, 6), st.integers(0, 6), st.lists(st.sampled_from(Result)))
def test_raised_as_often_as_a_list_says(k: int, more: int, results: list[Result]) -> None:
    """An NG part raises the alarm exactly when k of the last n parts, itself included, were NG."""
    n = k + more
    events = sum(
        result is Result.NG and results[max(0, place + 1 - n) : place + 1].count(Result.NG) >= k
        for place, result in enumerate(results)
    )
    assert fed(NgAlarm(k, n), *results).latch.raised == events


def test_stays_until_acknowledged() -> None:
    """Any number of good parts does not clear it."""
    alarm = fed(NgAlarm(1, 1), Result.NG, *[Result.OK] * 50)
    assert alarm.latch.on
    assert not alarm.after_acknowledge(shown=1).latch.on


def test_event_during_the_handshake_is_kept() -> None:
    """An acknowledge of the first event does not swallow a second that the PLC had not been shown."""
    alarm = fed(NgAlarm(1, 1), Result.NG, Result.NG).after_acknowledge(shown=1)
    assert alarm.latch.on
    assert alarm.latch.open == 1
    assert not alarm.after_acknowledge(shown=2).latch.on


def test_good_part_after_acknowledge_does_not_raise() -> None:
    """The window still holds two NG parts, but only an NG part raises."""
    alarm = fed(NgAlarm(2, 5), Result.NG, Result.NG).after_acknowledge(shown=1)
    assert not fed(alarm, Result.OK).latch.on
    assert fed(alarm, Result.OK, Result.NG).latch.on


def test_reset_starts_over() -> None:
    """Nothing is on or counted, and k new NG parts are needed."""
    alarm = fed(NgAlarm(2, 5), Result.NG, Result.NG).after_reset(shown=1)
    assert (alarm.latch.on, alarm.count) == (False, 0)
    assert not fed(alarm, Result.NG).latch.on
    assert fed(alarm, Result.NG, Result.NG).count == 1


def test_reset_keeps_what_was_not_shown() -> None:
    """An event that the PLC had not seen survives its reset."""
    alarm = fed(NgAlarm(1, 1), Result.NG, Result.NG, Result.NG).after_reset(shown=2)
    assert (alarm.latch.on, alarm.count) == (True, 1)


def test_fault_shows_its_last_code_while_on() -> None:
    """The code belongs to the fault bit: gone when acknowledged."""
    alarm = FaultAlarm().after_fault(FaultCode.STALE).after_fault(FaultCode.CAMERA_LOST)
    assert alarm.code is FaultCode.CAMERA_LOST
    assert alarm.after_acknowledge(shown=1).code is FaultCode.CAMERA_LOST
    assert alarm.after_acknowledge(shown=2).code is FaultCode.NONE


class LatchMachine(RuleBasedStateMachine):
    """Every event is a list entry that is acknowledged or not."""

    @initialize()
    def start(self) -> None:
        self.latch = Latch()
        self.events: list[bool] = []  # acknowledged?
        self.shown = 0

    @rule(events=st.integers(1, 3))
    def happens(self, events: int) -> None:
        self.latch = self.latch.after_event(events)
        self.events += [False] * events

    @rule()
    def is_shown(self) -> None:
        self.shown = self.latch.raised

    @rule()
    def is_acknowledged(self) -> None:
        """As of what was shown last, which may be long ago."""
        self.latch = self.latch.after_acknowledge(self.shown)
        self.events[: self.shown] = [True] * self.shown

    @invariant()
    def open_events_are_those_of_the_list(self) -> None:
        assert self.latch.open == self.events.count(False)
        assert self.latch.on == (False in self.events)


TestLatchMachine = LatchMachine.TestCase


class NgAlarmMachine(RuleBasedStateMachine):
    """Parts, what was shown of them, and the PLC's two edges, against lists of parts and events."""

    @initialize(k=st.integers(1, 3), more=st.integers(0, 3))
    def start(self, k: int, more: int) -> None:
        self.alarm = NgAlarm(k, k + more)
        self.parts: list[Result] = []
        self.events: list[bool] = []  # acknowledged?
        self.counted_from = 0
        self.shown = 0

    @rule(results=st.lists(st.sampled_from(Result), min_size=1, max_size=4))
    def parts_come(self, results: list[Result]) -> None:
        for result in results:
            self.alarm, raises = self.alarm.after_part(result)
            self.parts.append(result)
            last = self.parts[-self.alarm.n :]
            assert raises == (result is Result.NG and last.count(Result.NG) >= self.alarm.k)
            self.events += [False] * raises

    @rule()
    def is_shown(self) -> None:
        self.shown = self.alarm.latch.raised

    @rule()
    def is_acknowledged(self) -> None:
        """A second event that was not shown yet stays on."""
        self.alarm = self.alarm.after_acknowledge(self.shown)
        self.events[: self.shown] = [True] * self.shown

    @rule()
    def is_reset(self) -> None:
        """The window is empty again, and only what is still open counts."""
        self.is_acknowledged()
        self.alarm = self.alarm.after_reset(self.shown)
        self.parts.clear()
        self.counted_from = self.events.count(True)

    @invariant()
    def latched_and_counted(self) -> None:
        assert self.alarm.latch.on == (False in self.events)
        assert self.alarm.latch.open == self.events.count(False)
        assert self.alarm.count == len(self.events) - self.counted_from


TestNgAlarmMachine = NgAlarmMachine.TestCase
