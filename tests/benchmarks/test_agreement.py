"""Scores before and after a change of one setting: the arithmetic, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from alfa.errors import BadInput
from alfa.settings import ModelSettings
from benchmarks.agreement import Agreement, changed, start, together


def test_differences_and_verdicts_are_those_of_hand() -> None:
    """Nine good parts hold a rate of 0.1 by their largest score: 0.9 before, 0.8 after."""
    good_before, good_after = np.arange(1, 10) / 10, np.minimum(np.arange(1, 10) / 10, 0.8)
    before, after = np.append(good_before, 0.85), np.append(good_after, 0.85)
    found = Agreement.of(before, after, np.array([True] * 9 + [False]))
    assert (found.images, found.changed) == (10, 1)
    assert found.largest == pytest.approx(0.1)
    assert found.mean == pytest.approx(0.01)


def test_sets_count_by_their_images() -> None:
    """The mean of all is that of images, not of sets."""
    assert together([Agreement(1, 0.4, 0.4, 1), Agreement(3, 0.0, 0.0, 0)]) == Agreement(4, 0.1, 0.4, 1)


def test_a_comparison_starts_from_float32_where_the_machine_would_choose() -> None:
    """Else bf16 meets itself on a processor that has it; a precision that is named stays."""
    assert start(ModelSettings()).precision == "fp32"
    assert start(ModelSettings(precision="fp16")).precision == "fp16"


def test_a_setting_is_changed_by_name() -> None:
    """Its value is read as the config's would be."""
    assert changed(ModelSettings(), "precision=bf16").precision == "bf16"
    assert changed(ModelSettings(), "resolution=280").resolution == 280


@pytest.mark.parametrize("change", ["precision", "precision=int3", "presicion=bf16"])
def test_what_is_no_setting_is_refused(change: str) -> None:
    """One line that names the option."""
    with pytest.raises(BadInput, match="--change"):
        changed(ModelSettings(), change)
