"""The alarms that a transaction raises, worked out before it and put in force after it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from edge.messages import Result, Verdict, fault_code
from edge.results.alarm import AlarmEvent, AlarmKind
from edge.results.line import Line


class PendingAlarms:
    """What the lines' alarms become if some verdicts are recorded; nothing is changed before `apply`.

    Args:
        lines: by name, whose alarms they are.

    Attributes:
        events: what is to be recorded with the verdicts, in their order.
    """

    def __init__(self, lines: Mapping[str, Line]) -> None:
        self._lines = lines
        self._ng = {name: line.ng for name, line in lines.items()}
        self._fault = {name: line.fault for name, line in lines.items()}
        self.events: list[AlarmEvent] = []

    def take(self, verdict: Verdict) -> None:
        """One more part."""
        name = verdict.line
        self._ng[name], raises = self._ng[name].after_part(verdict.result)
        if raises:
            self._add(verdict, AlarmKind.NG)
        if verdict.result is Result.FAULT:
            self._fault[name] = self._fault[name].after_fault(fault_code(verdict.fault))
            self._add(verdict, AlarmKind.FAULT)

    def apply(self) -> None:
        """The verdicts are recorded."""
        for name, line in self._lines.items():
            line.ng, line.fault = self._ng[name], self._fault[name]
        for event in self.events:
            self._lines[event.line].heart.counters[f"{event.kind.lower()}_alarms"] += 1

    def _add(self, verdict: Verdict, kind: AlarmKind) -> None:
        self.events.append(
            AlarmEvent(
                line=verdict.line,
                kind=kind,
                code=fault_code(verdict.fault),
                raised_wall_ns=time.time_ns(),
                epoch=verdict.epoch,
                seq=verdict.seq,
                detail=verdict.detail,
            )
        )
