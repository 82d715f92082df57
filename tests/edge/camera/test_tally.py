"""The count of captured parts that outlives a camera, in real files."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.tally import Tally
from edge.messages import MOST_EARLIER_STARTS, EarlierStart


def log_into(stream: io.StringIO) -> structlog.stdlib.BoundLogger:
    """A log of its own: a process has one configuration, and the other tests have theirs."""
    return structlog.wrap_logger(structlog.PrintLogger(stream), [structlog.processors.JSONRenderer()])  # type: ignore[no-any-return]


LOG = log_into(io.StringIO())


def test_first_start_has_none_before(tmp_path: Path) -> None:
    """No file, no earlier starts."""
    assert Tally(tmp_path / "run" / "tally", 1, LOG).earlier == ()


def test_next_start_knows_the_last_count(tmp_path: Path) -> None:
    """Without any farewell of the one before, as after SIGKILL."""
    Tally(tmp_path / "tally", 11, LOG).count(383)
    assert Tally(tmp_path / "tally", 12, LOG).earlier == (EarlierStart(11, 383),)


def test_starts_come_the_last_one_first_and_the_oldest_are_let_go(tmp_path: Path) -> None:
    """As many as a beat may tell of."""
    for epoch in range(1, 20):
        Tally(tmp_path / "tally", epoch, LOG).count(epoch * 10)
    kept = range(19, 19 - MOST_EARLIER_STARTS, -1)
    assert Tally(tmp_path / "tally", 20, LOG).earlier == tuple(EarlierStart(each, each * 10) for each in kept)


def test_start_that_captured_nothing_is_left_out(tmp_path: Path) -> None:
    """It owes nobody anything."""
    Tally(tmp_path / "tally", 1, LOG).count(5)
    Tally(tmp_path / "tally", 2, LOG).count(0)
    assert Tally(tmp_path / "tally", 3, LOG).earlier == (EarlierStart(1, 5),)


@given(content=st.binary(max_size=300))
def test_any_file_gives_starts_that_a_beat_can_tell(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever lies there, nothing is raised and every number is one of the wire's."""
    path = tmp_path_factory.mktemp("tally") / "tally"
    path.write_bytes(content)
    earlier = Tally(path, 1, LOG).earlier
    assert len(earlier) <= MOST_EARLIER_STARTS
    assert all(0 <= each.epoch < 2**63 and 0 < each.captured < 2**63 for each in earlier)


def test_place_that_cannot_be_written_ends_no_camera(tmp_path: Path) -> None:
    """It is logged, and counting goes on to nowhere."""
    (tmp_path / "file").write_text("no directory")
    logged = io.StringIO()
    tally = Tally(tmp_path / "file" / "tally", 1, log_into(logged))
    tally.count(1)
    assert tally.earlier == ()
    assert "tally_not_kept" in logged.getvalue()


def test_file_is_for_the_services_group_alone(tmp_path: Path) -> None:
    """Like everything else in the runtime directory."""
    Tally(tmp_path / "tally", 1, LOG)
    assert stat.S_IMODE((tmp_path / "tally").stat().st_mode) == 0o640
