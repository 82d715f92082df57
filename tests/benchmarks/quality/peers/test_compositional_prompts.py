"""WinCLIP's prompt ensemble against what its paper says of it."""

from __future__ import annotations

from benchmarks.quality.peers.compositional_prompts import TEMPLATES, compositional_prompts


def test_the_counts_are_the_papers() -> None:
    """22 templates in 7 normal and 4 abnormal states, each prompt once."""
    normal, abnormal = compositional_prompts("bottle")
    assert len(TEMPLATES) == 22
    assert (len(set(normal)), len(set(abnormal))) == (154, 88)


def test_a_state_goes_into_a_template() -> None:
    """The two sentences that WinCLIP's own figure shows, and one with the noun first."""
    normal, abnormal = compositional_prompts("bottle")
    assert "a cropped photo of a flawless bottle." in normal
    assert "a photo of the bottle without defect for visual inspection." in normal
    assert "a photo of the damaged bottle." in abnormal
