"""What stays on until a person has acknowledged it: pure state, changed by giving a new one.

Events are counted. An acknowledge covers the events that the PLC was shown when it came; one that happened
in between stays latched, so that no alarm is lost in the handshake.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from edge.messages import FaultCode, Result


class AlarmKind(StrEnum):
    """Which alarm an event belongs to."""

    NG = "NG"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """What raised an alarm; a loss on the line belongs to no part and has no epoch and seq."""

    line: str
    kind: AlarmKind
    code: FaultCode
    raised_wall_ns: int
    epoch: int | None = None
    seq: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OpenAlarms:
    """Events of one line and kind that nobody has acknowledged, and the code of the last one."""

    count: int = 0
    last: FaultCode = FaultCode.NONE


@dataclass(frozen=True, slots=True)
class Latch:
    """Events raised and acknowledged, as counts that only grow."""

    raised: int = 0
    acknowledged: int = 0

    @property
    def on(self) -> bool:
        """True while an event is not acknowledged."""
        return self.raised > self.acknowledged

    @property
    def open(self) -> int:
        """Events not acknowledged."""
        return self.raised - self.acknowledged

    def after_event(self, events: int = 1) -> Self:
        """One or more further events."""
        return dataclasses.replace(self, raised=self.raised + events)

    def after_acknowledge(self, shown: int) -> Self:
        """The first `shown` events are acknowledged."""
        return dataclasses.replace(self, acknowledged=max(self.acknowledged, min(shown, self.raised)))


@dataclass(frozen=True, slots=True)
class NgAlarm:
    """Raised by an NG part when at least k of the last n parts, itself included, were NG.

    Attributes:
        k: NG parts that raise the alarm.
        n: among this many last parts; a FAULT part is one of them and not NG.
        latch: the alarm itself.
        window: the last n parts, bit 0 the last one; 1 is NG.
        discounted: events before the last reset.
    """

    k: int
    n: int
    latch: Latch = Latch()
    window: int = 0
    discounted: int = 0

    @property
    def count(self) -> int:
        """Events since the start or the last reset."""
        return self.latch.raised - self.discounted

    def after_part(self, result: Result) -> tuple[NgAlarm, bool]:
        """The alarm after one more part, and whether this part raised it (again)."""
        is_ng = result is Result.NG
        window = (self.window << 1 | is_ng) & ((1 << self.n) - 1)
        raises = is_ng and window.bit_count() >= self.k
        latch = self.latch.after_event() if raises else self.latch
        return dataclasses.replace(self, latch=latch, window=window), raises

    def after_acknowledge(self, shown: int) -> NgAlarm:
        """As `Latch.after_acknowledge`; the window stays, so that the next NG part may raise it again."""
        return dataclasses.replace(self, latch=self.latch.after_acknowledge(shown))

    def after_reset(self, shown: int) -> NgAlarm:
        """The first `shown` events are acknowledged and count no more; no parts are seen yet."""
        latch = self.latch.after_acknowledge(shown)
        return NgAlarm(self.k, self.n, latch, discounted=latch.acknowledged)


@dataclass(frozen=True, slots=True)
class FaultAlarm:
    """Raised by every part that was not judged and every loss on the line.

    Attributes:
        latch: the alarm itself.
        last: code of the last event.
    """

    latch: Latch = Latch()
    last: FaultCode = FaultCode.NONE

    @property
    def code(self) -> FaultCode:
        """Of the last event, while the alarm is on."""
        return self.last if self.latch.on else FaultCode.NONE

    def after_fault(self, code: FaultCode) -> FaultAlarm:
        """One more event."""
        return FaultAlarm(self.latch.after_event(), code)

    def after_acknowledge(self, shown: int) -> FaultAlarm:
        """As `Latch.after_acknowledge`."""
        return dataclasses.replace(self, latch=self.latch.after_acknowledge(shown))
