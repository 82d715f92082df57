"""A verdict survives the wire; one that contradicts itself is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given

from edge.messages import MalformedHeader, Verdict, decode_verdict, encode_verdict
from tests.edge.messages.examples import a_verdict, repacked, verdicts


@given(verdicts())
def test_verdict_survives_the_wire(verdict: Verdict) -> None:
    """Every field comes back equal."""
    assert decode_verdict(encode_verdict(verdict)) == verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"result": "FAULT"},
        {"result": "OK", "fault": "stale"},
        {"score": None},
        {"score": math.nan},
        {"score": math.inf},
        {"threshold": None},
        {"threshold": -math.inf},
        {"result": "OK", "score": 0.7, "threshold": 0.6},
        {"score": "0.7"},
        {"s_global": math.nan},
        {"s_local_max": -math.inf},
        {"reasons": [{"text": "scratch", "similarity": math.nan}]},
        {"timings": {"total": math.inf}},
        {"region": {"x": -1, "y": 0, "width": 1, "height": 1, "area": 1}},
        {"region": {"x": 0, "y": 0, "width": 2**40, "height": 1, "area": 1}},
        {"region": {"x": "9" * 4000, "y": 0, "width": 1, "height": 1, "area": 1}},
        {"result": "MAYBE"},
        {"fault": "tired"},
    ],
)
def test_verdict_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    """No OK or NG without finite score and threshold or with a fault, no OK above the threshold; no FAULT
    without its reason."""
    with pytest.raises(MalformedHeader):
        decode_verdict(repacked(encode_verdict(a_verdict()), **changes))
