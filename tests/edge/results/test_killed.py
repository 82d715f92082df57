"""`edge-results` killed with SIGKILL in the middle of a stream, and started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.messages import Result
from tests.edge.results.conftest import LINE, ProcessBox

if TYPE_CHECKING:
    from tests.edge.conftest import StandInPlc
    from tests.edge.results.conftest import MakeVerdict

KILLS = 2
BEFORE, SHOWN, WHILE_DEAD = 150, 10, 20


@pytest.fixture
def box(write_config: Callable[..., Path], plc: StandInPlc) -> Iterator[ProcessBox]:
    """Ready, with a PLC."""
    box = ProcessBox(write_config(f"{plc.table}[results]\nno_verdict_after_ms = 30000\n{LINE}"))
    yield box
    box.close()


def test_killed_service_loses_and_doubles_nothing(
    box: ProcessBox, plc: StandInPlc, make_verdict: MakeVerdict
) -> None:
    """The record ends complete, and at no time has the PLC been told of a part that is not in it."""
    results: list[Result] = []

    def judge(parts: int) -> None:
        for _ in range(parts):
            results.append(list(Result)[len(results) % 3])
            verdict = make_verdict(len(results) - 1, results[-1])
            box.history.append(verdict)
            box.captured += 1
            box.publish(verdict)

    def wait_until_shown(seq: int) -> None:
        box.until(lambda: plc.image().seq >= seq)

    for _ in range(KILLS):
        box.until_ready()
        first = len(results)
        judge(BEFORE)
        wait_until_shown(first + SHOWN)
        box.kill()
        told = {image.seq for image in plc.history() if image.result_valid}
        assert told <= {seq for seq, *_ in box.rows()}
        judge(WHILE_DEAD)
        box.start()
    box.until(lambda: len(box.rows()) == len(results))
    assert [Result(result) for _, result, _ in box.rows()] == results
    assert len(told) >= KILLS * SHOWN
