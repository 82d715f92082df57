"""What a run of the suite found: which targets are met, as a table, as JSON and as Markdown."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from benchmarks.suite import Row

if TYPE_CHECKING:
    # It imports torch, which not every benchmark's process needs.
    from benchmarks.machine import Machine

Verdict = Literal["met", "MISSED", "not run", ""]
_TARGET = re.compile(r"^(?P<sense>>=|<=|<|>)\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<rest>.*)$")
_HEADINGS = ("figure", "value", "unit", "ratio", "against", "target", "", "note")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one benchmark.

    Attributes:
        name: of the benchmark.
        title: of its table; the name where it could not be asked.
        rows: its figures; none where it did not run.
        missing: why it cannot run here, such as a peer that is not installed.
        crash: what went wrong.
        seconds: it took.
    """

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    missing: str = ""
    crash: str = ""
    seconds: float = 0.0


def verdict(row: Row) -> Verdict:
    """Whether a row meets its target; nothing where it has none.

    A target is a sense, a number and what it is of: `>= 1.5 GB/s` is of the value where that is the row's
    unit, `>= 1.3` or `>= 1.3 in float32` of the ratio where there is one. A figure that could not be
    measured (NaN) has not met anything.

    Raises:
        ValueError: the target is not put like that.
    """
    if not row.target:
        return "not run" if math.isnan(row.value) else ""
    found = _TARGET.match(row.target)
    if found is None:
        raise ValueError(f"{row.what}: target {row.target!r} is not a sense, a number and what it is of")
    of_value = row.ratio is None or (row.unit and found["rest"].split(" ")[0].rstrip(",;") == row.unit)
    figure = row.value if of_value else row.ratio
    if figure is None or math.isnan(figure):
        return "not run"
    limit = float(found["number"])
    met = {
        ">=": figure >= limit,
        "<=": figure <= limit,
        ">": figure > limit,
        "<": figure < limit,
    }[found["sense"]]
    return "met" if met else "MISSED"


def table(outcome: Outcome) -> Table:
    """One benchmark's rows for a terminal."""
    drawn = Table(title=f"{outcome.title} ({outcome.name}, {outcome.seconds:.0f} s)", title_justify="left")
    for heading in _HEADINGS:
        right = heading in ("value", "ratio")
        drawn.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in outcome.rows:
        drawn.add_row(*_cells(row))
    return drawn


def line(outcome: Outcome) -> str:
    """What is said of a benchmark that has no rows."""
    said = f"cannot run here: {outcome.missing}" if outcome.missing else f"CRASHED: {outcome.crash}"
    return f"{outcome.name}: {said}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line over all: what has not run is never counted as met."""
    verdicts = [verdict(row) for outcome in outcomes for row in outcome.rows]
    unavailable = sum(bool(outcome.missing) for outcome in outcomes)
    crashed = sum(bool(outcome.crash) for outcome in outcomes)
    return (
        f"{verdicts.count('met')} targets met, {verdicts.count('MISSED')} MISSED, "
        f"{verdicts.count('not run')} figures not run; of {len(outcomes)} benchmarks {unavailable} cannot "
        f"run here, {crashed} crashed"
    )


def as_json(machine: Machine, outcomes: Sequence[Outcome], quick: bool) -> str:
    """Everything, for programs; what was not measured is null."""
    described = {
        "machine": machine.as_dict(),
        "quick": quick,
        "benchmarks": [
            asdict(outcome) | {"rows": [_row_as_dict(row) for row in outcome.rows]} for outcome in outcomes
        ],
    }
    return json.dumps(described, indent=2, allow_nan=False) + "\n"


def as_markdown(machine: Machine, outcomes: Sequence[Outcome], quick: bool) -> str:
    """Everything, for a page of the documentation."""
    parts = ["\n".join(f"    {each}" for each in machine.lines())]
    if quick:
        parts.append("**Quick run: these figures are noise.**")
    for outcome in outcomes:
        parts.append(f"### {outcome.title}\n\n" + (_rows_as_markdown(outcome.rows) or line(outcome)))
    return "\n\n".join([*parts, summary(outcomes)]) + "\n"


def _rows_as_markdown(rows: Iterable[Row]) -> str:
    lines = ["| " + " | ".join(_escaped(cell) for cell in _cells(row)) + " |" for row in rows]
    if not lines:
        return ""
    heading = "| " + " | ".join(_HEADINGS) + " |"
    return "\n".join([heading, "|---|---:|---|---:|---|---|---|---|", *lines])


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{_number(row.ratio)}x"
    return row.what, _number(row.value), row.unit, ratio, row.against, row.target, verdict(row), row.note


def _number(value: float) -> str:
    """Three digits that count; whole above a thousand."""
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _row_as_dict(row: Row) -> dict[str, object]:
    kept = {key: _finite_or_none(value) for key, value in asdict(row).items()}
    return kept | {"verdict": verdict(row)}


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
