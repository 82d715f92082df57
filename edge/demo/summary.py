"""What a run comes to: accounting, confusion against the known truth, latency, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from edge.demo.audience import Heard
from edge.demo.line_run import Run
from edge.demo.plc_reading import PlcReading, plc_problems
from edge.messages import Result, Verdict
from edge.results.reader import read_only

_COLOURS = {Result.OK: "green", Result.NG: "red", Result.FAULT: "yellow"}
_REASONS_SHOWN = 2


@dataclass(frozen=True, slots=True)
class Confusion:
    """Parts by truth and verdict; a part that was not judged (FAULT) counts on neither side."""

    good_ok: int
    good_ng: int
    defective_ok: int
    defective_ng: int
    not_judged: int

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the share of good parts passed and of defective parts caught; 0.5 is chance."""
        good, defective = self.good_ok + self.good_ng, self.defective_ok + self.defective_ng
        if not good or not defective:
            return float("nan")
        return (self.good_ok / good + self.defective_ng / defective) / 2


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run, and everything that is not as it must be (`problems`, empty when all is well)."""

    captured: int
    judged: int
    recorded: int
    alpha: float
    confusion: Confusion
    latency_median_ms: float
    latency_p99_ms: float
    reading: PlcReading
    problems: tuple[str, ...]

    def table(self, title: str) -> Table:
        """For a person."""
        found = self.confusion
        table = Table(title=title)
        table.add_column("what")
        table.add_column("figure")
        rows = [
            ("captured / judged / recorded", f"{self.captured} / {self.judged} / {self.recorded}"),
            (
                "good parts: OK / NG",
                f"{found.good_ok} / {found.good_ng} (NG held to a rate of {self.alpha:g})",
            ),
            ("defective parts: NG / OK", f"{found.defective_ng} / {found.defective_ok}"),
            ("not judged (FAULT)", str(found.not_judged)),
            (
                "capture to verdict: median / p99",
                f"{self.latency_median_ms:.0f} / {self.latency_p99_ms:.0f} ms",
            ),
            *self.reading.rows(),
        ]
        for row in rows:
            table.add_row(*row)
        return table


def summarise(run: Run, parts: int, defective: Mapping[int, bool], database: Path, alpha: float) -> Summary:
    """Compare what was heard, recorded and shown with what is known.

    Args:
        run: the finished run.
        parts: how many the camera was to capture.
        defective: the truth by seq.
        database: the results service's record.
        alpha: false-reject rate that the calibration holds.
    """
    heard = run.heard
    found = confusion(heard.verdicts, defective)
    recorded = recorded_results(database)
    ng_seen = found.good_ng + found.defective_ng > 0
    return Summary(
        captured=heard.captured,
        judged=len(heard.verdicts),
        recorded=len(recorded),
        alpha=alpha,
        confusion=found,
        latency_median_ms=latency_percentile(heard.latencies_ms, 50),
        latency_p99_ms=latency_percentile(heard.latencies_ms, 99),
        reading=run.reading,
        problems=(
            *run.problems,
            *line_problems(heard, parts, recorded, found),
            *plc_problems(run.reading, run.last, ng_seen),
        ),
    )


def verdict_row(verdict: Verdict, known: str) -> str:
    """One row of the live list, in rich's markup; `known` is what the part truly is."""
    shown = f"{verdict.seq:4d}  [{_COLOURS[verdict.result]}]{verdict.result:5}[/]"
    if verdict.score is None or verdict.threshold is None:
        return f"{shown}  {verdict.fault} {verdict.detail}"
    reasons = ", ".join(reason.text for reason in verdict.reasons[:_REASONS_SHOWN])
    figures = f"score {verdict.score:.3f}  threshold {verdict.threshold:.3f}  {verdict.timings.total:6.0f} ms"
    return f"{shown}  {figures}  truth {known:13}  {reasons}"


def confusion(verdicts: Mapping[int, Verdict], defective: Mapping[int, bool]) -> Confusion:
    """Compare verdicts with the truth, both by seq."""
    pairs = [(defective[seq], verdict.result) for seq, verdict in verdicts.items()]
    return Confusion(
        good_ok=pairs.count((False, Result.OK)),
        good_ng=pairs.count((False, Result.NG)),
        defective_ok=pairs.count((True, Result.OK)),
        defective_ng=pairs.count((True, Result.NG)),
        not_judged=sum(result is Result.FAULT for _, result in pairs),
    )


def latency_percentile(latencies_ms: list[float], percentile: float) -> float:
    """Milliseconds from capture to verdict; NaN where nothing was judged."""
    return float(np.percentile(latencies_ms, percentile)) if latencies_ms else float("nan")


def recorded_results(database: Path) -> dict[int, str]:
    """The record's result by seq, read as anybody would."""
    with closing(read_only(database)) as connection:
        return dict(connection.execute("SELECT seq, result FROM verdicts"))


def line_problems(heard: Heard, parts: int, recorded: Mapping[int, str], found: Confusion) -> list[str]:
    """Everything about the line itself that is not as it must be; empty when all is well.

    Args:
        heard: what the demo's subscriber heard.
        parts: how many parts the camera was told to capture.
        recorded: results in the results service's database, by seq.
        found: the confusion of what was heard.
    """
    differing = sorted(
        seq for seq, verdict in heard.verdicts.items() if recorded.get(seq, verdict.result) != verdict.result
    )
    checks = [
        (heard.captured == parts, f"camera captured {heard.captured} of {parts} parts"),
        (len(heard.verdicts) == parts, f"{len(heard.verdicts)} verdicts for {parts} parts"),
        (heard.repeated == 0, f"{heard.repeated} parts had more than one verdict"),
        (len(recorded) == parts, f"{len(recorded)} verdicts recorded for {parts} parts"),
        (not differing, f"the record says otherwise of parts {differing}"),
        (found.not_judged == 0, f"{found.not_judged} parts ended as FAULT"),
        (found.balanced_accuracy > 0.5, f"verdicts no better than chance ({found.balanced_accuracy:.2f})"),
    ]
    return [problem for holds, problem in checks if not holds]
