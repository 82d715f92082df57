"""An evaluation as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from alfa.evaluation.protocol import METRICS, WHOLE, ClassResult, Row
from alfa.evaluation.report import HEADINGS, Evaluation, figure_text

# Off a terminal (a file, a pipe) rich would fold everything into 80 columns.
_WIDTH_OFF_TERMINAL = 140


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table]:
    """Of one class all rows; of several a table a row with a line a class, then all rows of the mean."""
    results = evaluation.results
    if len(results) == 1:
        yield rows_table(_title(evaluation, results[0]), results[0].rows)
        return
    for name in results[0].curves:
        yield _classes_table(evaluation, name)
    yield rows_table(f"{evaluation.name}: mean of {len(results)} classes", evaluation.mean)


def rows_table(title: str, rows: Iterable[Row]) -> Table:
    """A line a row of the report."""
    table = _table(title, ("row", "score"))
    for row in rows:
        table.add_row(row.name, row.part, *_figures(row))
    return table


def print_tables(tables: Iterable[Table]) -> None:
    """On stdout."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_OFF_TERMINAL)
    for table in tables:
        console.print(table)


def _classes_table(evaluation: Evaluation, name: str) -> Table:
    table = _table(f"{evaluation.name}: {name}, {evaluation.model_id}", ("class", "images", "prompts"))
    for result in evaluation.results:
        dataset = result.dataset
        about = (f"{dataset.good} + {dataset.defective}", evaluation.prompts[dataset.name].file)
        table.add_row(dataset.name, *about, *_figures(_whole(result.rows, name)))
    table.add_section()
    table.add_row("mean", "", "", *_figures(_whole(evaluation.mean, name)))
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for metric in METRICS:
        table.add_column(HEADINGS[metric], justify="right")
    return table


def _whole(rows: Iterable[Row], name: str) -> Row:
    return next(row for row in rows if (row.name, row.part) == (name, WHOLE))


def _figures(row: Row) -> Iterator[str]:
    return (figure_text(row, metric) for metric in METRICS)


def _title(evaluation: Evaluation, result: ClassResult) -> str:
    dataset = result.dataset
    images = f"{dataset.good} good, {dataset.defective} defective, {result.masks} masks"
    return f"{dataset.name}: {images}; {evaluation.prompts[dataset.name].file}, {evaluation.model_id}"
