"""What the tables show, and which sets are averaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from alfa.evaluation.datasets import Dataset
from alfa.evaluation.metrics import ImageMetrics, PixelMetrics
from alfa.evaluation.protocol import GLOBAL, WHOLE, ClassResult, Figures, Row, Shown
from benchmarks.quality.report import SetReport, means, table


def _figures(image_auroc: float, pixel: PixelMetrics | None = None) -> Figures:
    return Figures(ImageMetrics(image_auroc, 0.5, 0.5), pixel)


def _report(directory: str, image_auroc: float) -> SetReport:
    path = Path(directory)
    rows = (Row("ALFA, zero-shot", WHOLE, (_figures(image_auroc),)),)
    result = ClassResult(Dataset(path.name, path, (), ()), 0, rows, {}, Shown("", (), (0.0, 1.0)))
    return SetReport(result, "generic", "0" * 16, "object", 1.0)


def _cells(rows: list[Row]) -> list[list[str]]:
    return [[str(cell) for cell in column.cells] for column in table("", rows).columns]


def test_a_table_shows_mean_and_deviation_in_percent() -> None:
    """Two seeds at 0.8 and 0.9: 85.0, and 0.05 times the root of 2."""
    pixel = PixelMetrics(auroc=0.91, pro=0.82, f1_max=0.5)
    row = Row("ALFA, 1-shot", WHOLE, (_figures(0.8, pixel), _figures(0.9, pixel)))
    assert _cells([row]) == [["ALFA, 1-shot"], ["85.0 ± 7.1"], ["91.0 ± 0.0"], ["82.0 ± 0.0"]]


def test_a_row_without_masks_has_dashes() -> None:
    """No figure is not a figure of zero."""
    assert _cells([Row("ALFA", WHOLE, (_figures(0.8),))]) == [["ALFA"], ["80.0"], ["-"], ["-"]]


def test_halves_of_our_score_are_left_to_alfa_eval() -> None:
    """A peer has none, so only whole scores stand beside each other."""
    rows = [Row("ALFA", part, (_figures(0.8),)) for part in (WHOLE, GLOBAL)]
    assert _cells(rows)[0] == ["ALFA"]


def test_sets_are_averaged_folder_by_folder() -> None:
    """Sets of training and others never meet in a mean, and one set alone has none."""
    reports = [_report("data/train/a", 0.6), _report("data/train/b", 0.8), _report("data/dev/c", 0.1)]
    [(title, [row])] = means(reports).items()
    assert title == "mean of 2 sets in train"
    assert row.mean("image_auroc") == pytest.approx(0.7)
