"""The ledger: single rules by hand, and any sequence of events against a dictionary of parts."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.messages import MOST_LOST_AT_ONCE
from edge.results.ledger import Belief, Ledger, Standing

PATIENCE_S = 10.0


@pytest.fixture
def ledger() -> Ledger:
    """With epoch 7 open and nothing recorded."""
    ledger = Ledger(PATIENCE_S)
    ledger.open(7, [], 0, now_s=0.0)
    return ledger


def test_part_without_verdict_is_overdue(ledger: Ledger) -> None:
    """Three captured, one judged: the other two are overdue when their time is up and not before."""
    ledger.captured(7, 3, now_s=1.0)
    ledger.settle((7, 1), now_s=2.0)
    assert ledger.overdue(10.9, most=10) == []
    assert ledger.overdue(11.0, most=10) == [(7, 0), (7, 2)]


def test_overdue_comes_in_pieces(ledger: Ledger) -> None:
    """A loss of many parts is told a few at a time, none left out."""
    ledger.captured(7, 100_000, now_s=0.0)
    told: list[tuple[int, int]] = []
    for _ in range(3):
        piece = ledger.overdue(20.0, most=2)
        told += piece
        for key in piece:
            ledger.give_up(key, now_s=20.0)
    assert told == [(7, seq) for seq in range(6)]


def test_verdict_proves_earlier_captures(ledger: Ledger) -> None:
    """Without any beat of the camera, a verdict for part 2 says that 0 and 1 were captured."""
    ledger.settle((7, 2), now_s=5.0)
    assert ledger.overdue(15.0, most=10) == [(7, 0), (7, 1)]


def test_verdict_after_giving_up_is_late(ledger: Ledger) -> None:
    """It is told apart from one that came twice."""
    ledger.captured(7, 2, now_s=0.0)
    ledger.settle((7, 0), now_s=1.0)
    ledger.give_up((7, 1), now_s=10.0)
    assert ledger.standing((7, 0)) is Standing.DUPLICATE
    assert ledger.standing((7, 1)) is Standing.LATE
    assert ledger.standing((7, 2)) is Standing.NEW


def test_giving_up_a_part_of_a_forgotten_start_changes_nothing() -> None:
    """Many starts of a free-running camera may be heard of while its verdict waits for the record."""
    ledger = Ledger(PATIENCE_S, answers_all=False)
    for epoch in range(20):
        ledger.open(epoch, [], 5, now_s=0.0)
    ledger.give_up((0, 3), now_s=1.0)
    assert not ledger.knows(0)


def test_opened_with_what_is_recorded(ledger: Ledger) -> None:
    """After a restart recorded parts are duplicates and the known count of captures still stands."""
    ledger.open(8, [range(3), range(4, 5)], captured=7, now_s=100.0)
    assert ledger.standing((8, 4)) is Standing.DUPLICATE
    assert ledger.overdue(110.0, most=10) == [(8, 3), (8, 5), (8, 6)]
    assert ledger.captured_counts()[8] == 7


def test_free_running_line_owes_nothing() -> None:
    """Its skipped frames are no parts; duplicates are still told."""
    ledger = Ledger(PATIENCE_S, answers_all=False)
    ledger.open(7, [], 0, now_s=0.0)
    ledger.captured(7, 50, now_s=0.0)
    ledger.settle((7, 9), now_s=0.0)
    assert (ledger.owed, ledger.overdue(1000.0, most=10)) == (0, [])
    assert ledger.standing((7, 9)) is Standing.DUPLICATE


def test_gaps_of_a_free_running_line_are_bounded() -> None:
    """Every other frame is skipped for ever: neither gaps nor camera starts pile up."""
    ledger = Ledger(PATIENCE_S, answers_all=False)
    for epoch in range(50):
        ledger.open(epoch, [range(1, 2)], 9, now_s=0.0)
    assert len(ledger.captured_counts()) <= 17
    ledger.open(99, [range(seq, seq + 1) for seq in range(0, 1_000_000, 2)], 0, now_s=0.0)
    ledger.settle((99, 1_000_001), now_s=0.0)
    assert ledger.standing((99, 700_001)) is Standing.DUPLICATE  # too long ago to be told from a skipped one
    assert ledger.standing((99, 999_999)) is Standing.NEW
    assert ledger.standing((99, 1_000_001)) is Standing.DUPLICATE


def test_old_epochs_go_unless_they_owe() -> None:
    """A camera that restarts without end does not fill the memory, and no owed part is forgotten."""
    ledger = Ledger(PATIENCE_S)
    ledger.open(0, [], captured=1, now_s=0.0)
    for epoch in range(1, 100):
        ledger.open(epoch, [range(5)], captured=5, now_s=0.0)
    assert len(ledger.captured_counts()) <= 17
    assert ledger.overdue(10.0, most=10) == [(0, 0)]
    assert ledger.knows(99)


def test_a_count_too_far_ahead_is_not_believed(ledger: Ledger) -> None:
    """Nobody is owed anything for it, and the next true count is taken as if it had not been."""
    assert ledger.captured(7, 2**62, now_s=0.0) == Belief(doubted=True)
    assert (ledger.owed, ledger.captured_counts()) == (0, {7: 0})
    assert ledger.captured(7, 3, now_s=1.0) == Belief()
    assert ledger.overdue(11.0, most=10) == [(7, 0), (7, 1), (7, 2)]


def test_the_largest_jump_is_believed(ledger: Ledger) -> None:
    """Every part of it is owed a verdict."""
    assert ledger.captured(7, MOST_LOST_AT_ONCE, now_s=0.0) == Belief()
    assert ledger.owed == MOST_LOST_AT_ONCE


def test_a_jump_that_counts_continue_is_true(ledger: Ledger) -> None:
    """Nobody recorded for hours: the last parts are owed, those before are told as one range."""
    ledger.captured(7, 5, now_s=0.0)
    beliefs = [ledger.captured(7, 10_000_000 + beat, now_s=1.0) for beat in range(5)]
    untold = range(5, 10_000_003 - MOST_LOST_AT_ONCE)
    assert beliefs == [Belief(doubted=True)] * 3 + [Belief(untold=untold), Belief()]
    assert ledger.owed == 5 + MOST_LOST_AT_ONCE + 1
    assert ledger.standing((7, 10_000_000)) is Standing.NEW


def test_a_verdict_too_far_ahead_proves_nothing(ledger: Ledger) -> None:
    """The bound of a count is that of a seq."""
    ledger.captured(7, 3, now_s=0.0)
    assert ledger.standing((7, 3 + MOST_LOST_AT_ONCE)) is Standing.NEW
    assert ledger.standing((7, 4 + MOST_LOST_AT_ONCE)) is Standing.IMPLAUSIBLE


@pytest.mark.parametrize(
    ("recorded", "captured", "is_doubted"),
    [([range(3)], 2**62, True), ([range(3), range(2**62, 2**62 + 1)], 3, False)],
    ids=["count", "row"],
)
def test_a_record_that_believed_everything_is_not_believed(
    recorded: list[range], captured: int, is_doubted: bool
) -> None:
    """What an earlier release wrote of a broken message does not go on after a restart."""
    ledger = Ledger(PATIENCE_S)
    assert ledger.open(7, recorded, captured, now_s=0.0) == Belief(doubted=is_doubted)
    assert (ledger.owed, ledger.captured_counts()) == (0, {7: 3})


def test_counts_of_a_free_running_line_are_not_doubted() -> None:
    """They owe nothing; nobody is to acknowledge that the service was away for an hour."""
    ledger = Ledger(PATIENCE_S, answers_all=False)
    assert ledger.open(7, [range(5_000_000, 5_000_001)], 9_000_000, now_s=0.0) == Belief()
    assert ledger.captured(7, 19_000_000, now_s=0.0) == Belief()


def test_a_forgotten_epoch_is_settled_in_the_record_alone(ledger: Ledger) -> None:
    """Between a verdict and its commit so many starts were heard of that its own is forgotten."""
    for epoch in range(100, 200):
        ledger.open(epoch, [], 0, now_s=0.0)
    assert not ledger.knows(7)
    ledger.settle((7, 0), now_s=0.0)
    assert ledger.owed == 0


class LedgerMachine(RuleBasedStateMachine):
    """Every part is a dictionary entry: when it was learned of, and how it ended."""

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.ledger = Ledger(PATIENCE_S)
        self.learned: dict[tuple[int, int], float] = {}
        self.ended: dict[tuple[int, int], Standing] = {}
        for epoch in range(3):
            self.ledger.open(epoch, [], 0, self.now)

    def learn(self, epoch: int, count: int) -> None:
        for seq in range(count):
            self.learned.setdefault((epoch, seq), self.now)

    @rule(seconds=st.floats(0, 6))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(epoch=st.integers(0, 2), count=st.integers(0, 20))
    def camera_beats(self, epoch: int, count: int) -> None:
        self.ledger.captured(epoch, count, self.now)
        self.learn(epoch, count)

    @rule(epoch=st.integers(0, 2), seq=st.integers(0, 20))
    def verdict_comes(self, epoch: int, seq: int) -> None:
        key = (epoch, seq)
        assert self.ledger.standing(key) is self.ended.get(key, Standing.NEW)
        if key not in self.ended:
            self.ledger.settle(key, self.now)
            self.ended[key] = Standing.DUPLICATE
            self.learn(epoch, seq + 1)

    @rule(most=st.integers(1, 5))
    def overdue_are_given_up(self, most: int) -> None:
        for key in self.ledger.overdue(self.now, most):
            self.ledger.give_up(key, self.now)
            assert key not in self.ended
            self.ended[key] = Standing.LATE

    @invariant()
    def overdue_are_those_whose_time_is_up(self) -> None:
        expected = sorted(
            key
            for key, since in self.learned.items()
            if key not in self.ended and since <= self.now - PATIENCE_S
        )
        # A look into the future changes nothing.
        self.ledger.overdue(self.now + PATIENCE_S, most=1)
        assert self.ledger.overdue(self.now, most=1000) == expected

    @invariant()
    def owed_are_those_without_an_end(self) -> None:
        assert self.ledger.owed == len(self.learned.keys() - self.ended.keys())


TestLedgerMachine = LedgerMachine.TestCase
