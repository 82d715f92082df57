"""Captured against judged: pure bookkeeping that finds the parts for which no verdict came.

A camera counts its captures from 0 within an epoch and tells the count in its beats. Every number below the
count is a part that is owed a verdict; one that has none when its time is up becomes FAULT(no_verdict).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from itertools import islice
from typing import TypeAlias

from edge.results.intervals import Intervals

PartKey: TypeAlias = tuple[int, int]  # epoch, seq

# Verdicts of a camera's earlier starts may still come by replay; older ones are looked up in the record.
_EPOCHS_REMEMBERED = 16
# Of a free-running line; a verdict that far behind the newest one is taken for a repeated one.
_SEQS_REMEMBERED = 200_000


class Standing(Enum):
    """What an arrived verdict is to the ledger."""

    NEW = auto()
    DUPLICATE = auto()
    LATE = auto()  # the part was given up before


class _Epoch:
    """One start of the camera."""

    def __init__(self, settled: Iterable[range]) -> None:
        self.settled = Intervals(settled)
        self.given_up = Intervals()
        self.captured = 0
        self._learned: deque[tuple[int, float]] = deque()  # count, and when it was learned; both grow

    def learn(self, count: int, now: float) -> None:
        """So many parts are captured, as of now."""
        # What was learned of parts that all have their verdict tells nothing any more.
        while self._learned and self._learned[0][0] <= self.settled.first_missing:
            self._learned.popleft()
        if count > self.captured:
            self.captured = count
            self._learned.append((count, now))

    def known(self, by: float) -> int:
        """Parts below this number were known by then, as far as one of them is not settled."""
        return max((count for count, learned in self._learned if learned <= by), default=0)

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

    def open(self, epoch: int, recorded: Iterable[range], captured: int, now: float) -> None:
        """Begin to account for an epoch.

        Args:
            epoch: of the camera.
            recorded: seqs that have their verdict already.
            captured: parts known to be captured, from an earlier run of this service; else 0.
            now: seconds on a monotonic clock, as everywhere here.
        """
        opened = _Epoch(recorded)
        highest = max((each.stop for each in opened.settled), default=0)
        self._epochs[epoch] = opened
        self._close_old_gaps(opened, highest)
        opened.learn(max(captured, highest), now)
        self._forget()

    def captured(self, epoch: int, count: int, now: float) -> None:
        """The camera says how many parts it has captured in this epoch."""
        self._epochs[epoch].learn(count, now)

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
        return Standing.DUPLICATE if seq in epoch.settled else Standing.NEW

    def settle(self, key: PartKey, now: float) -> None:
        """The part's verdict is recorded."""
        number, seq = key
        epoch = self._epochs[number]
        epoch.settled.add(range(seq, seq + 1))
        self._close_old_gaps(epoch, seq)
        epoch.learn(seq + 1, now)

    def give_up(self, key: PartKey, now: float) -> None:
        """The part's FAULT(no_verdict) is recorded."""
        self.settle(key, now)
        self._epochs[key[0]].given_up.add(range(key[1], key[1] + 1))

    def overdue(self, now: float, most: int) -> list[PartKey]:
        """Up to `most` parts whose time is up at `now`; they stay overdue until settled or given up."""
        if not self._answers_all:
            return []
        keys = (
            (number, seq)
            for number, epoch in self._epochs.items()
            for missing in epoch.settled.missing_below(epoch.known(now - self._patience_s))
            for seq in missing
        )
        return list(islice(keys, most))

    @property
    def owed(self) -> int:
        """Parts known to be captured that wait for their verdict."""
        return sum(epoch.owed for epoch in self._epochs.values()) if self._answers_all else 0

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
