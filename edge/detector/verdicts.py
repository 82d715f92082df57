"""Verdicts made of what is known of a part: pure, one function for each way a part can end."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from alfa.inspector import Inspection
from edge.clocks import NS_PER_MS, this_boot
from edge.messages import (
    LONGEST_TEXT,
    FaultReason,
    FrameHeader,
    Reason,
    Region,
    Result,
    Timings,
    Verdict,
    missing_verdict,
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every verdict of a line carries of how it was made: content hashes, recipe number, detector."""

    judged_by: str
    recipe: int
    prompts: str = ""
    bank: str = ""
    model: str = ""
    calibration: str = ""


def judged(header: FrameHeader, inspection: Inspection, stamp: Stamp, timings: Timings) -> Verdict:
    """OK or NG; FAULT(non_finite) where the model gave no number."""
    if not inspection.finite:
        return fault(header, FaultReason.NON_FINITE, "score or map is not finite", stamp, timings)
    return dataclasses.replace(
        _blank(header, stamp),
        result=Result.NG if inspection.anomalous else Result.OK,
        fault=FaultReason.NONE,
        score=inspection.score,
        threshold=inspection.threshold,
        calibrated=inspection.calibrated,
        s_global=inspection.s_global,
        s_local_max=inspection.s_local_max,
        side_was_empty=inspection.side_was_empty,
        region=_region(inspection),
        reasons=tuple(Reason(reason.text[:LONGEST_TEXT], reason.similarity) for reason in inspection.reasons),
        timings=timings,
    )


def fault(
    header: FrameHeader, reason: FaultReason, detail: str, stamp: Stamp, timings: Timings | None = None
) -> Verdict:
    """FAULT of a part that arrived and was not judged."""
    return dataclasses.replace(
        _blank(header, stamp),
        fault=reason,
        detail=detail[:LONGEST_TEXT],
        timings=timings or Timings(),
    )


def lost(line: str, epoch: int, seq: int, stamp: Stamp) -> Verdict:
    """FAULT(frame_lost) of a part that was captured and did not arrive."""
    detail = "captured, but the frame did not arrive"
    blank = missing_verdict(line, epoch, seq, FaultReason.FRAME_LOST, detail)
    return dataclasses.replace(blank, **dataclasses.asdict(stamp))


def published(verdict: Verdict, wall_ns: int, mono_ns: int) -> Verdict:
    """The verdict with the time of its publication, and the latency since the capture where that is known."""
    total_ms = (mono_ns - verdict.captured_mono_ns) / NS_PER_MS if verdict.captured_mono_ns else 0.0
    return dataclasses.replace(
        verdict,
        published_wall_ns=wall_ns,
        published_mono_ns=mono_ns,
        boot=this_boot(),
        timings=dataclasses.replace(verdict.timings, total=total_ms),
    )


def _blank(header: FrameHeader, stamp: Stamp) -> Verdict:
    """A FAULT without a reason, which no receiver takes: whoever starts from it has to say how it ended."""
    return Verdict(
        line=header.line,
        epoch=header.epoch,
        seq=header.seq,
        part_id=header.part_id,
        result=Result.FAULT,
        captured_wall_ns=header.wall_ns,
        captured_mono_ns=header.mono_ns,
        **dataclasses.asdict(stamp),
    )


def _region(inspection: Inspection) -> Region | None:
    found = inspection.region
    return None if found is None else Region(found.x, found.y, found.width, found.height, found.area)
