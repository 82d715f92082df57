"""The matmul peak: every precision has its rows, also those that the processor has not got."""

from __future__ import annotations

import math

from benchmarks.machine import native_precisions
from benchmarks.matmul import run
from benchmarks.suite import Effort


def test_every_precision_has_a_row_and_says_so_where_it_is_not_native() -> None:
    """float32 always is; NaN and a note stand for what would go through it."""
    rows = {row.what: row for row in run(Effort(quick=True)) if "thread" in row.what}
    assert {what.split(",")[0] for what in rows} == {"fp32", "bf16", "fp16"}
    for what, row in rows.items():
        native = what.split(",")[0] in native_precisions()
        assert math.isnan(row.value) is not native
        assert row.note.startswith("not run") is not native
