"""The ablations as tables laid out like the paper's, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from alfa.evaluation.ablation import (
    BOTH,
    COMPONENTS,
    LLM_ONLY,
    SCALE_SETS,
    SHOTS,
    TEMPLATES_ONLY,
    WHOLE_METHOD,
    scales_row,
)
from alfa.evaluation.protocol import GLOBAL, LOCAL, METRICS, WHOLE, ClassResult, Row, mean_over_classes
from alfa.evaluation.report import HEADINGS, MEAN, figure_text

_IMAGE_METRICS = ("image_auroc", "image_aupr", "image_f1_max")
_SCALES_OF_SCORES = (2, 3)
# Row of Table 3 -> the variant that it is.
_PROMPT_ROWS = {TEMPLATES_ONLY: TEMPLATES_ONLY, LLM_ONLY: LLM_ONLY, BOTH: WHOLE_METHOD}

Counts = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Ablation:
    """What is reported.

    Attributes:
        name: of the data set.
        model_id: name and origin of the weights.
        weights_hash: of the weights.
        aligner: form of the whole method.
        contextual: likewise.
        results: class by class.
        prompts: class -> row of Table 3 -> normal and abnormal prompts.
    """

    name: str
    model_id: str
    weights_hash: str
    aligner: str
    contextual: str
    results: tuple[ClassResult, ...]
    prompts: Mapping[str, Counts]


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of one table.

    Attributes:
        table: such as `Table 2`.
        row: its line.
        column: what stands in the column.
        source: the figures it comes from.
        metric: which of them.
    """

    table: str
    row: str
    column: str
    source: Row
    metric: str


def cells(rows: Sequence[Row]) -> Iterator[Cell]:
    """Every figure of the four tables, line by line.

    Args:
        rows: of one class, or of the mean.
    """
    by = {(row.name, row.part): row for row in rows}
    for name in COMPONENTS:
        yield from _line("Table 2", name, by[name, WHOLE], METRICS)
    for shown, name in _PROMPT_ROWS.items():
        yield from _line("Table 3", shown, by[name, WHOLE], _IMAGE_METRICS)
    for part, shown in ((GLOBAL, "S_G"), (LOCAL, "max S_L"), (WHOLE, "both")):
        for shots in SHOTS:
            source = by[scales_row(_SCALES_OF_SCORES, shots), part]
            yield Cell("Table 6, score", shown, f"{shots}-shot", source, "image_auroc")
    for scales in SCALE_SETS:
        for shots in SHOTS:
            source = by[scales_row(scales, shots), WHOLE]
            yield Cell("Table 6, scales", str(list(scales)), f"{shots}-shot", source, "pixel_auroc")


def ablation_tables(ablation: Ablation) -> Iterator[Table]:
    """The four tables of each class, then of their mean."""
    for name, rows in _all(ablation):
        counts = _counts(ablation, name)
        by_table: dict[str, list[Cell]] = {}
        for cell in cells(rows):
            by_table.setdefault(cell.table, []).append(cell)
        for table, members in by_table.items():
            yield _table(
                f"{table}: {name}, {ablation.model_id}", members, counts if table == "Table 3" else {}
            )


def ablation_json(ablation: Ablation) -> dict[str, Any]:
    """Everything, for `json.dumps`."""
    return {
        "dataset": ablation.name,
        "model": ablation.model_id,
        "weights_hash": ablation.weights_hash,
        "aligner": ablation.aligner,
        "contextual": ablation.contextual,
        "classes": [_class(ablation, name, rows) for name, rows in _all(ablation)],
    }


def ablation_csv(ablation: Ablation) -> str:
    """One line a figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "table", "row", "column", "metric", "repeats", "mean", "std"])
    for name, rows in _all(ablation):
        writer.writerows([name, *_flat(cell).values()] for cell in cells(rows))
    return text.getvalue()


def _all(ablation: Ablation) -> Iterator[tuple[str, Sequence[Row]]]:
    for result in ablation.results:
        yield result.dataset.name, result.rows
    if len(ablation.results) > 1:
        yield MEAN, mean_over_classes(ablation.results)


def _line(table: str, name: str, source: Row, metrics: Sequence[str]) -> Iterator[Cell]:
    return (Cell(table, name, HEADINGS[metric], source, metric) for metric in metrics)


def _counts(ablation: Ablation, name: str) -> dict[str, str]:
    """Row of Table 3 -> prompts per label, as a range where classes differ."""
    known = [ablation.prompts[name]] if name in ablation.prompts else list(ablation.prompts.values())
    return {row: _range([count for counts in known for count in counts[row]]) for row in _PROMPT_ROWS}


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low}-{high}"


def _table(title: str, members: Sequence[Cell], counts: Mapping[str, str]) -> Table:
    table = Table(title=title)
    table.add_column("row")
    if counts:
        table.add_column("prompts per label", justify="right")
    for column in dict.fromkeys(cell.column for cell in members):
        table.add_column(column, justify="right")
    for row in dict.fromkeys(cell.row for cell in members):
        figures = [figure_text(cell.source, cell.metric) for cell in members if cell.row == row]
        table.add_row(row, *([counts[row]] if counts else []), *figures)
    return table


def _class(ablation: Ablation, name: str, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "class": name,
        "prompts": _counts(ablation, name),
        "figures": [_flat(cell) for cell in cells(rows)],
    }


def _flat(cell: Cell) -> dict[str, Any]:
    return {
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "metric": cell.metric,
        "repeats": len(cell.source.repeats),
        "mean": cell.source.mean(cell.metric),
        "std": cell.source.std(cell.metric),
    }
