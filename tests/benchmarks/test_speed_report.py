"""Which targets are met, and how outcomes are written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from benchmarks.machine import Machine
from benchmarks.report import Outcome, Verdict, as_json, as_markdown, summary, verdict
from benchmarks.suite import Row

NAN = float("nan")
MACHINE = Machine(
    processor="EPYC",
    cores=2,
    caches="L2 512K",
    memory_gb=8.0,
    system="Linux",
    python="3.11",
    torch="2.14",
    threads=2,
    cpu_capability="AVX2",
    precisions=("fp32",),
    gpus=(),
    load=0.1,
)
OUTCOMES = [
    Outcome("a", "First", rows=(Row("met one", 2.0, "GB/s", target=">= 1.5 GB/s"), Row("plain", 3.0, "ms"))),
    Outcome(
        "b", "Second", rows=(Row("late", 30.0, "ms", target="<= 10 ms"), Row("no | bf16", NAN, "images/s"))
    ),
    Outcome("c", "c", missing="no peer"),
    Outcome("d", "d", crash="ValueError: broken"),
]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("no target", 1.0, "ms"), ""),
        (Row("value, unit named", 1.5, "GB/s", target=">= 1.5 GB/s"), "met"),
        (Row("value below", 1.49, "GB/s", ratio=9.0, target=">= 1.5 GB/s sustained"), "MISSED"),
        (Row("ratio", 0.1, "images/s", ratio=1.3, target=">= 1.3 in float32"), "met"),
        (Row("ratio below", 99.0, "images/s", ratio=1.29, target=">= 1.3"), "MISSED"),
        (Row("at most", 10.0, "ms", target="<= 10 ms"), "met"),
        (Row("above", 10.1, "ms", target="<= 10 ms"), "MISSED"),
        (Row("strictly", 1.0, "MB/min", target="< 1 MB/min"), "MISSED"),
        (Row("share", 71.0, "%", target=">= 70 %"), "met"),
        (Row("share, written together", 71.0, "%", ratio=0.5, target=">= 70%"), "met"),
        (Row("not measured", NAN, "ms", target="<= 10 ms"), "not run"),
        (Row("not measured, no target", NAN, "ms"), "not run"),
        (Row("ratio not measured", NAN, "images/s", ratio=NAN, target=">= 3"), "not run"),
    ],
)
def test_verdicts_by_hand(row: Row, expected: Verdict) -> None:
    """A target is of the value where it names its unit, else of the ratio where there is one."""
    assert verdict(row) == expected


def test_a_target_in_other_words_is_a_mistake() -> None:
    """Better than a figure that seems to have no target."""
    with pytest.raises(ValueError, match="'fast'"):
        verdict(Row("x", 1.0, "ms", target="fast"))


def test_what_did_not_run_is_never_counted_as_met() -> None:
    """One met, one missed, one figure missing, one benchmark not here and one crashed."""
    expected = "1 targets met, 1 MISSED, 1 figures not run; of 4 benchmarks 1 cannot run here, 1 crashed"
    assert summary(OUTCOMES) == expected


def test_json_holds_everything_and_null_for_what_was_not_measured() -> None:
    """Strict JSON: programs know no NaN."""
    found = json.loads(as_json(MACHINE, OUTCOMES, quick=True), parse_constant=pytest.fail)
    assert found["quick"] is True
    assert found["machine"]["processor"] == "EPYC"
    assert [each["name"] for each in found["benchmarks"]] == ["a", "b", "c", "d"]
    late, missing = found["benchmarks"][1]["rows"]
    assert (late["value"], late["verdict"]) == (30.0, "MISSED")
    assert (missing["value"], missing["verdict"]) == (None, "not run")
    assert not math.isnan(found["benchmarks"][3]["seconds"])


def test_markdown_has_a_table_a_benchmark_and_a_line_for_what_has_none() -> None:
    """Cells that hold the separator do not break the table."""
    text = as_markdown(MACHINE, OUTCOMES, quick=True)
    assert "| late | 30 | ms |  |  | <= 10 ms | MISSED |  |" in text
    assert "| no \\| bf16 | - | images/s |  |  |  | not run |  |" in text
    assert "c: cannot run here: no peer" in text
    assert "d: CRASHED: ValueError: broken" in text
    assert "these figures are noise" in text


@pytest.mark.parametrize(("load", "busy"), [(0.5, False), (0.6, True)])
def test_a_busy_machine_is_said_to_be_busy(load: float, busy: bool) -> None:
    """Above a quarter of its two cores."""
    machine = replace(MACHINE, load=load)
    assert machine.busy is busy
    assert any("WARNING" in line for line in machine.lines()) is busy
