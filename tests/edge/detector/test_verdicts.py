"""Every way a part can end is a verdict that receivers take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.clocks import this_boot
from edge.detector.verdicts import Stamp, fault, lost, published
from edge.messages import FaultReason, Frame, decode_verdict, encode_verdict

MakeFrame = Callable[..., Frame]
STAMP = Stamp(judged_by="main", recipe=3, prompts="p", bank="b", model="m", calibration="c")


@pytest.mark.parametrize("reason", [reason for reason in FaultReason if reason is not FaultReason.NONE])
def test_a_fault_survives_the_wire(make_frame: MakeFrame, reason: FaultReason) -> None:
    """Identity, reason and stamp arrive as they were."""
    verdict = fault(make_frame(4).header, reason, "why", STAMP)
    received = decode_verdict(encode_verdict(verdict))
    assert received == verdict
    assert (received.part_id, received.bank, received.calibration) == ("part-4", "b", "c")


def test_a_long_error_text_survives_the_wire(make_frame: MakeFrame) -> None:
    """Text is cut to what a verdict may carry, because a verdict that nobody can decode is none."""
    verdict = fault(make_frame(0).header, FaultReason.MODEL_ERROR, "x" * 5000, STAMP)
    assert decode_verdict(encode_verdict(verdict)).detail == "x" * 1000


def test_the_latency_runs_from_capture_to_publication(make_frame: MakeFrame) -> None:
    """A part published 30 ms after its capture says so."""
    header = make_frame(0).header
    verdict = fault(header, FaultReason.STALE, "", STAMP)
    sent = published(verdict, wall_ns=123, mono_ns=header.mono_ns + 30_000_000)
    assert (sent.timings.total, sent.published_wall_ns) == (30.0, 123)
    assert (sent.published_mono_ns, sent.boot) == (header.mono_ns + 30_000_000, this_boot())


def test_a_lost_part_has_no_latency() -> None:
    """When it was captured is not known here."""
    assert published(lost("line1", 1, 2, STAMP), wall_ns=123, mono_ns=456).timings.total == 0.0
