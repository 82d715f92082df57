"""The arithmetic of the line's benchmarks on verdicts that can be reckoned by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks.line_figures import Percentiles, overheads
from benchmarks.line_plant import LinePlan, Received, config_text
from benchmarks.plc_latency import published_to_shown, shown_ns
from benchmarks.soak import slope_a_minute, tenths
from edge.messages import FaultReason, Result, Timings, Verdict
from edge.plc.registers import LineImage, encode_image
from edge.settings import load_settings

MS = 1_000_000


def received(seq: int, captured_ms: int, times: Timings, at_ms: int, result: Result = Result.OK) -> Received:
    fault = FaultReason.STALE if result is Result.FAULT else FaultReason.NONE
    verdict = Verdict("line", 1, seq, "", result, fault, timings=times, captured_mono_ns=captured_ms * MS)
    return Received(verdict, at_ms * MS)


def test_waiting_for_another_batch_is_told_apart() -> None:
    """The first batch is inferred from 3 to 23 ms; one captured at 10 waits 13 of that and 1 more."""
    first = received(0, 0, Timings(queue=2, preprocess=1, infer=20), at_ms=25)
    second = received(1, 10, Timings(queue=13, preprocess=1, infer=20), at_ms=46)
    parts = overheads([first, second])
    assert [part.line for part in parts] == [5.0, 16.0]
    assert [part.queueing for part in parts] == [0.0, 13.0]


def test_a_part_that_was_not_judged_has_no_overhead() -> None:
    """Its verdict comes without any inference."""
    assert overheads([received(0, 0, Timings(), at_ms=1, result=Result.FAULT)]) == []


def test_percentiles_of_nothing_are_no_numbers() -> None:
    """And not 0, which would meet every target."""
    assert math.isnan(Percentiles.of([]).p99)


def test_the_register_counts_from_its_first_write() -> None:
    """Heartbeats repeat a result; other lines and results without a verdict do not count."""
    image = LineImage(result_valid=True, seq=5)
    requests = [
        (90, 0, LineImage(seq=5)),
        (95, 32, image),
        (100, 0, image),
        (300, 0, image),
    ]
    history = [
        json.dumps({"mono_ns": at_ms * MS, "address": address, "registers": encode_image(shown)})
        for at_ms, address, shown in requests
    ]
    shown = shown_ns(history, 0)
    assert shown == {5: 100 * MS}
    verdict = received(5, 60, Timings(total=30), at_ms=91)
    assert published_to_shown([verdict, received(6, 60, Timings(total=30), at_ms=91)], shown) == [10.0]


def test_slope_is_by_the_minute() -> None:
    """Half a MiB in 30 s is 1 MiB a minute."""
    assert slope_a_minute([0, 30, 60], [7.0, 7.5, 8.0]) == pytest.approx(1.0)


def test_tenths_are_medians_of_the_ends() -> None:
    """Of twenty values, two at each end."""
    assert tenths([1, 3, *range(100, 116), 7, 9]) == (2.0, 8.0)


def test_the_written_config_shares_lines_out(tmp_path: Path) -> None:
    """Four lines and two detectors: in turn, each line with PLC registers of its own."""
    plan = LinePlan({f"l{n}": {"kind": "synthetic"} for n in range(4)}, detectors=2, with_plc=True)
    (tmp_path / "config.toml").write_text(config_text(plan, tmp_path, 5020))
    settings = load_settings(tmp_path / "config.toml")
    assert [list(settings.lines_of(name)) for name in settings.detectors()] == [["l0", "l2"], ["l1", "l3"]]
    assert [line.index for line in settings.lines.values()] == [0, 1, 2, 3]
    assert settings.plc is not None
