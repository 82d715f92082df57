"""Trials end in a finding, whatever happens in them."""

from __future__ import annotations

import threading

import pytest

from alfa.errors import BadInput, Fault
from edge.check.findings import Check, Finding, Outcome

CHECK = Check("camera", "line1")


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (BadInput("config.toml", "k", 1, "is wrong"), "config.toml: k = 1: is wrong"),
        (Fault("camera_unavailable", "does not open"), "camera_unavailable: does not open"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied"),
    ],
)
def test_what_a_trial_may_raise_is_a_failure(error: Exception, detail: str) -> None:
    """With its own words and what to do."""

    def trial() -> Finding:
        raise error

    assert CHECK.tried(trial, "do it") == Finding("camera", "line1", Outcome.FAIL, detail, "do it")


def test_a_trial_that_does_not_end_is_a_failure() -> None:
    """It is left behind; whoever asked goes on."""
    ended = threading.Event()

    def trial() -> Finding:
        ended.wait(60)
        return CHECK.ok("late")

    finding = CHECK.tried_within(0.05, trial, "look")
    ended.set()
    assert (finding.outcome, finding.detail) == (Outcome.FAIL, "nothing within 0.05 s")


def test_a_trial_in_time_says_what_it_found() -> None:
    """Its finding is passed on."""
    assert CHECK.tried_within(60, lambda: CHECK.ok("here"), "look") == CHECK.ok("here")
