"""What tests of the results service share: verdicts, and a record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from edge.messages import FaultReason, Result, Verdict
from edge.results.record import Record


class MakeVerdict(Protocol):
    """Makes a verdict of line1."""

    def __call__(self, seq: int, result: Result = Result.OK, **changes: Any) -> Verdict: ...


@pytest.fixture
def make_verdict() -> MakeVerdict:
    """`make_verdict(seq, result)` is a verdict of line1, epoch 7; other fields by keyword."""

    def make(seq: int, result: Result = Result.OK, **changes: Any) -> Verdict:
        judged = result is not Result.FAULT
        verdict = Verdict(
            line="line1",
            epoch=7,
            seq=seq,
            part_id=str(seq),
            result=result,
            fault=FaultReason.NONE if judged else FaultReason.STALE,
            score=0.25 if judged else None,
            threshold=0.5 if judged else None,
        )
        return dataclasses.replace(verdict, **changes)

    return make


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """An empty record in `tmp_path / "results.sqlite"`."""
    opened = Record.open(tmp_path / "results.sqlite")
    yield opened
    opened.close()
