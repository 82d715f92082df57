"""Captured against judged: pure bookkeeping that finds the parts for which no verdict came.

A camera counts its captures from 0 within an epoch and tells the count in its beats. Every number below the
count is a part that is owed a verdict; one that has none when its time is up becomes FAULT(no_verdict).

A count or seq that is more than `MOST_LOST_AT_ONCE` ahead of what is known is not believed: each part told
missing costs a row of the record, and one broken message would cost them without end. A count that the
camera's next ones continue is true all the same (nobody recorded for hours): then its last
`MOST_LOST_AT_ONCE` parts are owed a verdict each, and those before are told as one range.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import TypeAlias

from edge.messages import MOST_LOST_AT_ONCE
from edge.results.intervals import Intervals

PartKey: TypeAlias = tuple[int, int]  # epoch, seq

# Verdicts of a camera's earlier starts may still come by replay; older ones are looked up in the record.
_EPOCHS_REMEMBERED = 16
# Of a free-running line; a verdict that far behind the newest one is taken for a repeated one.
_SEQS_REMEMBERED = 200_000
# So many counts in a row that continue a jump make it true: one broken message does not.
_COUNTS_THAT_CONFIRM = 4


class Standing(Enum):
    """What an arrived verdict is to the ledger."""

    NEW = auto()
    DUPLICATE = auto()
    LATE = auto()  # the part was given up before
    IMPLAUSIBLE = auto()  # its seq is further ahead than parts can be lost


@dataclass(frozen=True, slots=True)
class Belief:
    """What the ledger made of a count of captured parts.

    Attributes:
        doubted: it is further ahead than parts can be lost, and changed nothing.
        untold: parts that a jump which proved true has left behind: they are settled without a verdict each.
    """

    doubted: bool = False
    untold: range = range(0)


_BELIEVED = Belief()
_DOUBTED = Belief(doubted=True)


class _Epoch:
    """One start of the camera."""

    def __init__(self, settled: Iterable[range]) -> None:
        self.settled = Intervals(settled)
        self.given_up = Intervals()
        self.captured = 0
        # Counts, and the seconds in which they were learned; both grow.
        self._learned: deque[tuple[int, float]] = deque()
        self._doubted = 0  # the last count that was not believed
        self._doubts = 0  # how many in a row

    def is_in_reach(self, parts: int) -> bool:
        """Whether so many parts may be captured, as far as is known."""
        return parts - self.captured <= MOST_LOST_AT_ONCE

    def is_confirmed(self, count: int) -> bool:
        """Whether enough counts out of reach have continued each other, this one included."""
        continues = 0 <= count - self._doubted <= MOST_LOST_AT_ONCE
        self._doubts = self._doubts + 1 if continues else 1
        self._doubted = count
        return self._doubts >= _COUNTS_THAT_CONFIRM

    def forget_doubts(self) -> None:
        """A count in reach has taken back those that were not."""
        self._doubts = 0

    def skip(self, count: int) -> range:
        """Settle what lies further behind a true count than parts are told one by one."""
        untold = range(self.captured, count - MOST_LOST_AT_ONCE)
        self.settled.add(untold)
        return untold

    def learn(self, count: int, now_s: float) -> None:
        """So many parts are captured, as of now."""
        # What was learned of parts that all have their verdict tells nothing any more.
        while self._learned and self._learned[0][0] <= self.settled.first_missing:
            self._learned.popleft()
        if count > self.captured:
            self.captured = count
            self._learned.append((count, now_s))

    def known(self, by_s: float) -> int:
        """Parts below this number were known by then, as far as one of them is not settled."""
        return max((count for count, learned_s in self._learned if learned_s <= by_s), default=0)

    @property
    def owed(self) -> int:
        # All that is settled is below `captured`: a verdict proves that its part was captured.
        return self.captured - len(self.settled)


class Ledger:
    """Accounts for one line's parts.

    Args:
        patience_s: how long a part may be known without a verdict.
        answers_all: False for a free-running line, whose skipped frames are owed nothing.
    """

    def __init__(self, patience_s: float, answers_all: bool = True) -> None:
        self._patience_s = patience_s
        self._answers_all = answers_all
        self._epochs: dict[int, _Epoch] = {}

    def knows(self, epoch: int) -> bool:
        """Whether the epoch was opened; one that was not is opened with what the record holds of it."""
        return epoch in self._epochs

    def open(self, epoch: int, recorded: Iterable[range], captured: int, now_s: float) -> Belief:
        """Begin to account for an epoch.

        Args:
            epoch: of the camera.
            recorded: seqs that have their verdict already.
            captured: parts known to be captured, from an earlier run of this service; else 0.
            now_s: seconds on a monotonic clock, as everywhere here.

        Returns:
            whether `captured` is believed: a record may be of a release that believed everything.
        """
        opened = _Epoch(_up_to_a_jump(recorded) if self._answers_all else recorded)
        highest = max((each.stop for each in opened.settled), default=0)
        self._epochs[epoch] = opened
        self._close_old_gaps(opened, highest)
        opened.learn(highest, now_s)
        belief = self._believe(opened, captured, now_s)
        self._forget()
        return belief

    def captured(self, epoch: int, count: int, now_s: float) -> Belief:
        """The camera says how many parts it has captured in this epoch."""
        return self._believe(self._epochs[epoch], count, now_s)

    def captured_counts(self) -> dict[int, int]:
        """Parts known to be captured, by epoch: what a restarted service must not forget."""
        return {number: epoch.captured for number, epoch in self._epochs.items()}

    def settled_below(self) -> dict[int, int]:
        """The seq below which every part is settled, by epoch: a restarted service need not look there."""
        return {number: epoch.settled.first_missing for number, epoch in self._epochs.items()}

    def standing(self, key: PartKey) -> Standing:
        """What a verdict for this part would be; changes nothing."""
        epoch, seq = self._epochs[key[0]], key[1]
        if seq in epoch.given_up:
            return Standing.LATE
        if not epoch.is_in_reach(seq):
            return Standing.IMPLAUSIBLE
        return Standing.DUPLICATE if seq in epoch.settled else Standing.NEW

    def settle(self, key: PartKey, now_s: float) -> None:
        """The part's verdict, which was not implausible, is recorded."""
        number, seq = key
        epoch = self._epochs.get(number)
        if epoch is None:
            # Forgotten since the verdict came: many camera starts were heard of at once. The record knows.
            return
        epoch.settled.add(range(seq, seq + 1))
        self._close_old_gaps(epoch, seq)
        epoch.learn(seq + 1, now_s)

    def give_up(self, key: PartKey, now_s: float) -> None:
        """The part's FAULT(no_verdict) is recorded."""
        self.settle(key, now_s)
        if key[0] in self._epochs:
            self._epochs[key[0]].given_up.add(range(key[1], key[1] + 1))

    def overdue(self, now_s: float, most: int) -> list[PartKey]:
        """Up to `most` parts whose time is up at `now_s`; they stay overdue until settled or given up."""
        if not self._answers_all:
            return []
        keys = (
            (number, seq)
            for number, epoch in self._epochs.items()
            for missing in epoch.settled.missing_below(epoch.known(now_s - self._patience_s))
            for seq in missing
        )
        return list(islice(keys, most))

    @property
    def owed(self) -> int:
        """Parts known to be captured that wait for their verdict."""
        return sum(epoch.owed for epoch in self._epochs.values()) if self._answers_all else 0

    def _believe(self, epoch: _Epoch, count: int, now_s: float) -> Belief:
        # A free-running line owes nothing, however large the count.
        if epoch.is_in_reach(count) or not self._answers_all:
            epoch.forget_doubts()
            epoch.learn(count, now_s)
            return _BELIEVED
        if not epoch.is_confirmed(count):
            return _DOUBTED
        untold = epoch.skip(count)
        epoch.learn(count, now_s)
        return Belief(untold=untold)

    def _close_old_gaps(self, epoch: _Epoch, seq: int) -> None:
        """Skipped frames of a free-running line never get a verdict: their gaps would fill the memory."""
        if not self._answers_all:
            epoch.settled.add(range(seq - _SEQS_REMEMBERED))

    def _forget(self) -> None:
        """The oldest epochs go, but none that still owes."""
        surplus = len(self._epochs) - _EPOCHS_REMEMBERED
        settled = [
            number
            for number, epoch in list(self._epochs.items())[:-1]
            if not (self._answers_all and epoch.owed)
        ]
        for number in settled[: max(surplus, 0)]:
            del self._epochs[number]


def _up_to_a_jump(recorded: Iterable[range]) -> Iterator[range]:
    """What is recorded, but for rows that only a broken message can have brought."""
    stop = 0
    for each in Intervals(recorded):
        if each.start - stop > MOST_LOST_AT_ONCE:
            return
        yield each
        stop = each.stop
