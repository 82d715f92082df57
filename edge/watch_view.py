"""How `edge-watch` shows what it has heard: tables on a terminal, or one line a verdict."""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from alfa.errors import printable
from edge.detector.stage_times import STAGES, mean_ms
from edge.messages import Beat, Result, ServiceState, Verdict

_ROWS = 15
_SILENT_AFTER_S = 2.0
_STYLES = {Result.OK: "green", Result.NG: "bold red", Result.FAULT: "bold yellow"}
_STATE_STYLES = {ServiceState.READY: "green", ServiceState.FAULT: "bold red"}
_NS_PER_S = 1e9

Heard: TypeAlias = Verdict | Beat


@dataclass(slots=True)
class Watched:
    """What was heard of the watched lines so far; `take` is the only way in."""

    lines: tuple[str, ...]
    rows: int = _ROWS
    verdicts: int = 0
    undecodable: int = 0
    newest: deque[Verdict] = field(init=False)
    counts: dict[str, Counter[Result]] = field(init=False)
    beats: dict[tuple[str, str], tuple[Beat, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.newest = deque(maxlen=self.rows)
        self.counts = {line: Counter() for line in self.lines}

    def take(self, heard: Heard, now_s: float) -> None:
        """Note a verdict or a beat."""
        if isinstance(heard, Verdict):
            self.verdicts += 1
            self.newest.appendleft(heard)
            self.counts[heard.line][heard.result] += 1
        else:
            self.beats[heard.service, heard.line] = heard, now_s


def plain_line(verdict: Verdict) -> str:
    """A verdict as one line of `name=value` pairs, the same ones for every verdict."""
    reasons = ",".join(reason.text for reason in verdict.reasons) if verdict.result is Result.NG else ""
    pairs = {
        "time": _clock(verdict),
        "line": verdict.line,
        "epoch": verdict.epoch,
        "seq": verdict.seq,
        "part": verdict.part_id,
        "result": verdict.result,
        "fault": verdict.fault,
        "score": _number(verdict.score),
        "threshold": _number(verdict.threshold),
        "calibrated": str(verdict.calibrated).lower(),
        "latency_ms": f"{verdict.timings.total:.1f}",
        "reasons": reasons,
    }
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in pairs.items())


def screen(watched: Watched, now_s: float) -> Group:
    """The whole picture: lines on top, the newest verdicts below."""
    return Group(_lines_table(watched, now_s), _verdicts_table(watched))


def _lines_table(watched: Watched, now_s: float) -> Table:
    table = Table(
        "line", "camera", "captured", "detector", "waiting", "stages (mean ms)", *Result, expand=True
    )
    for line in watched.lines:
        camera, detector = (watched.beats.get((service, line)) for service in ("camera", "detector"))
        table.add_row(
            line,
            _state(camera, now_s),
            _counter(camera, "captured"),
            _state(detector, now_s),
            _counter(detector, "queue"),
            _stage_means(detector),
            *(Text(str(watched.counts[line][result]), _STYLES[result]) for result in Result),
        )
    if watched.undecodable:
        table.caption = f"{watched.undecodable} messages could not be decoded"
    return table


def _verdicts_table(watched: Watched) -> Table:
    table = Table(
        "time",
        "line",
        "seq",
        "part",
        "result",
        "score",
        "threshold",
        "ms",
        Column("why", ratio=1),
        expand=True,
    )
    for verdict in watched.newest:
        table.add_row(
            _clock(verdict),
            verdict.line,
            str(verdict.seq),
            # Text: part ids and descriptors are not console markup.
            Text(printable(verdict.part_id)),
            Text(verdict.result, _STYLES[verdict.result]),
            _number(verdict.score),
            _number(verdict.threshold) + (" *" if _uncalibrated(verdict) else ""),
            f"{verdict.timings.total:.0f}",
            Text(printable(_why(verdict)), overflow="ellipsis", no_wrap=True),
        )
    if any(_uncalibrated(verdict) for verdict in watched.newest):
        table.caption = "* not calibrated"
    return table


def _state(beat: tuple[Beat, float] | None, now_s: float) -> Text:
    """A service's state, unless it has fallen silent."""
    if beat is None:
        return Text("not heard", "dim")
    said, at_s = beat
    if now_s - at_s > _SILENT_AFTER_S:
        return Text(f"silent {now_s - at_s:.0f} s", "bold red")
    text = printable(f"{said.state} {said.last_error}".strip())
    return Text(text, _STATE_STYLES.get(said.state, "yellow") if not said.last_error else "bold red")


def _counter(beat: tuple[Beat, float] | None, name: str) -> str:
    return "" if beat is None else str(beat[0].counters.get(name, ""))


def _stage_means(beat: tuple[Beat, float] | None) -> str:
    """Over the parts judged since the detector's start; nothing before the first."""
    counters = {} if beat is None else beat[0].counters
    means = [(stage, mean_ms(counters, stage)) for stage in STAGES]
    return ", ".join(f"{stage} {mean:.0f}" for stage, mean in means if mean is not None)


def _why(verdict: Verdict) -> str:
    if verdict.result is Result.FAULT:
        return f"{verdict.fault}: {verdict.detail}" if verdict.detail else str(verdict.fault)
    if verdict.result is Result.NG:
        return ", ".join(reason.text for reason in verdict.reasons)
    return ""


def _uncalibrated(verdict: Verdict) -> bool:
    return verdict.threshold is not None and not verdict.calibrated


def _clock(verdict: Verdict) -> str:
    """Local time of publication; of the capture it may be unknown."""
    published = datetime.fromtimestamp(verdict.published_wall_ns / _NS_PER_S).astimezone()
    return published.strftime("%H:%M:%S.%f")[:-3]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _quoted(value: str) -> str:
    """As JSON where a space, a quote or a control character would make other pairs of the line."""
    plain = value.isprintable() and not set(value) & {" ", '"', "\\"}
    return value if plain else json.dumps(value)
