"""The benchmark of stages: every stage has its row, and shares are of the verdict's way alone."""

from __future__ import annotations

import pytest

from alfa.settings import ModelSettings
from benchmarks.stages import colour_frame, shares, stage_rows
from benchmarks.suite import Effort

_STAGES = (
    "decode",
    "resize",
    "normalise",
    "encode",
    "adapt",
    "aligner",
    "local map",
    "bank",
    "pixels",
    "region",
    "scores",
    "JPEG",
)


def test_shares_by_hand() -> None:
    """1 of 4 is a quarter."""
    assert shares({"a": 1.0, "b": 3.0}) == {"a": 25.0, "b": 75.0}


def test_every_stage_has_a_row_and_the_text_side_a_target(tiny_settings: ModelSettings) -> None:
    """On the tiny model, where the figures are noise."""
    rows = stage_rows(tiny_settings, Effort(quick=True))
    whats = [row.what.partition(": ")[2] for row in rows]
    assert set(_STAGES) < set(whats)
    [text_side] = [row for row in rows if row.target]
    assert text_side.what.endswith("adaptation, aligner and scores together")
    told = {row.what.partition(": ")[2]: row.note for row in rows}
    assert told["JPEG"] == "beside the verdict's way"
    percent = [float(told[name].split()[0]) for name in _STAGES if name != "JPEG"]
    assert sum(percent) == pytest.approx(100, abs=0.1)


def test_the_frame_is_as_it_comes_out_of_a_socket() -> None:
    """A view that cannot be written to."""
    assert not colour_frame(48, 64).pixels.flags.writeable
