"""What a campaign must show: pure, from what was captured, what the record holds and what the PLC was shown.

A PLC takes a line for safe when it is told so, or when the heartbeat has stood still for its watchdog's time:
a results service that is killed can say nothing any more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edge.plc.registers import LineImage, ResultCode, is_safe

PartKey: TypeAlias = tuple[str, int, int]  # line, epoch, seq
_NS_PER_S = 1e9
_DOUBLE_WORD = 1 << 32


@dataclass(frozen=True, slots=True)
class Row:
    """A verdict of the record, its numbers as the PLC's registers show them."""

    line: str
    epoch: int
    seq: int
    result: str
    part_number: int
    score: int
    threshold: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What was written into a line's registers, and when (CLOCK_MONOTONIC)."""

    line: str
    mono_ns: int
    image: LineImage


@dataclass(frozen=True, slots=True)
class Loss:
    """A service or the PLC's link that was taken away.

    Attributes:
        what: camera, detector, results or plc.
        lines: that depend on it.
        mono_ns: when.
        until_ns: when it was given back; a line that was not safe by then never was.
    """

    what: str
    lines: tuple[str, ...]
    mono_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class SafeDelay:
    """How long a line was not safe after a loss; None: all the time."""

    loss: Loss
    line: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        captured: parts in all.
        missing: captured, and not in the record.
        duplicates: in the record more than once.
        strange: in the record, and captured by no camera.
        ok_shown: how many writes told the PLC that a part is OK.
        wrong_ok: an OK in the registers of a part that the record does not call OK.
        delays: of each line at each loss.
    """

    captured: int
    missing: tuple[PartKey, ...]
    duplicates: tuple[PartKey, ...]
    strange: tuple[PartKey, ...]
    ok_shown: int
    wrong_ok: tuple[Shown, ...]
    delays: tuple[SafeDelay, ...]

    @property
    def holds(self) -> bool:
        """Whether every part has its one verdict, and no OK was told but of a part that is OK."""
        return not (self.missing or self.duplicates or self.strange or self.wrong_ok)

    def late(self, limit_s: float) -> list[SafeDelay]:
        """Losses after which a line was not safe within this time."""
        return [each for each in self.delays if each.seconds is None or each.seconds > limit_s]


def audited(
    captured: Mapping[tuple[str, int], int],
    record: Sequence[Row],
    history: Sequence[Shown],
    losses: Sequence[Loss],
    watchdog_s: float,
) -> Audit:
    """Compare what was captured with the record, the record with the PLC's history, and that with the losses.

    Args:
        captured: parts of each (line, epoch): seq 0 to one less.
        record: all rows.
        history: every write of a line's registers, in order of time.
        losses: what was taken away.
        watchdog_s: the PLC's: a heartbeat that stands still for so long is a loss to it.
    """
    counts = Counter((row.line, row.epoch, row.seq) for row in record)
    parts = {(line, epoch, seq) for (line, epoch), count in captured.items() for seq in range(count)}
    return Audit(
        captured=len(parts),
        missing=tuple(sorted(parts - counts.keys())),
        duplicates=tuple(sorted(key for key, count in counts.items() if count > 1)),
        strange=tuple(sorted(counts.keys() - parts)),
        ok_shown=sum(_says_ok(shown.image) for shown in history),
        wrong_ok=tuple(_wrong_ok(record, history)),
        delays=tuple(_delays(history, losses, watchdog_s)),
    )


def _wrong_ok(record: Sequence[Row], history: Sequence[Shown]) -> list[Shown]:
    """Registers have no epoch: the numbers of the part and its score tell which part is meant."""
    good = {
        (row.line, row.seq % _DOUBLE_WORD, row.part_number, row.score, row.threshold)
        for row in record
        if row.result == "OK"
    }
    return [shown for shown in history if _says_ok(shown.image) and _told(shown) not in good]


def _says_ok(image: LineImage) -> bool:
    return image.result_ok or image.result_code is ResultCode.OK


def _told(shown: Shown) -> tuple[str, int, int, int, int]:
    image = shown.image
    return shown.line, image.seq, image.part_id, image.score, image.threshold


def _delays(history: Sequence[Shown], losses: Sequence[Loss], watchdog_s: float) -> list[SafeDelay]:
    lines = {line for loss in losses for line in loss.lines}
    safe_times = {
        line: _safe_times([each for each in history if each.line == line], watchdog_s) for line in lines
    }
    return [
        SafeDelay(loss, line, _seconds_until_safe(safe_times[line], loss))
        for loss in losses
        for line in loss.lines
    ]


def _safe_times(history: Sequence[Shown], watchdog_s: float) -> list[tuple[int, bool]]:
    """When a line became safe or unsafe to its PLC, in order of time; before the first write it is safe."""
    changes: list[tuple[int, bool]] = [(0, True)]
    watchdog_ns = int(watchdog_s * _NS_PER_S)
    beat_ns, heartbeat = 0, -1
    for index, shown in enumerate(history):
        if shown.image.heartbeat != heartbeat:
            beat_ns, heartbeat = shown.mono_ns, shown.image.heartbeat
        ends_ns = beat_ns + watchdog_ns
        if shown.mono_ns < ends_ns:
            changes.append((shown.mono_ns, is_safe(shown.image)))
        next_ns = history[index + 1].mono_ns if index + 1 < len(history) else ends_ns + 1
        if shown.mono_ns < ends_ns <= next_ns:
            changes.append((ends_ns, True))
    return changes


def _seconds_until_safe(changes: Sequence[tuple[int, bool]], loss: Loss) -> float | None:
    first = bisect_right(changes, loss.mono_ns, key=lambda change: change[0]) - 1
    if changes[first][1]:
        return 0.0
    for at_ns, safe in changes[first + 1 :]:
        if at_ns > loss.until_ns:
            return None
        if safe:
            return (at_ns - loss.mono_ns) / _NS_PER_S
    return None
