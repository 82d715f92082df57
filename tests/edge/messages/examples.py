"""Messages to try the wire with: any that may be sent, and one of a kind."""

from __future__ import annotations

import msgpack
import numpy as np
from hypothesis import strategies as st

from edge.messages import FaultReason, Frame, FrameHeader, Part, Reason, Region, Result, Timings, Verdict

names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
counters = st.integers(0, 2**63 - 1)
seqs = st.integers(0, 2**63 - 2)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
hashes = st.text("0123456789abcdef", max_size=16)
finite = st.floats(allow_nan=False, allow_infinity=False)


def a_frame(height: int = 2, width: int = 3) -> Frame:
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    header = FrameHeader("line1", 7, 5, 1, 2, height, width, 3, "uint8", "rgb", "part-5")
    return Frame(header, pixels)


def a_verdict() -> Verdict:
    return Verdict("line1", 7, 5, "part-5", Result.OK, score=0.1, threshold=0.5)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    colour = draw(st.sampled_from(["rgb", "bgr", "grey"]))
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), 1 if colour == "grey" else 3
    content = draw(st.binary(min_size=height * width * channels, max_size=height * width * channels))
    header = FrameHeader(
        line=draw(names),
        epoch=draw(counters),
        seq=draw(seqs),
        mono_ns=draw(counters),
        wall_ns=draw(counters),
        height=height,
        width=width,
        channels=channels,  # type: ignore[arg-type]
        dtype="uint8",
        colour=colour,  # type: ignore[arg-type]
        part_id=draw(texts),
        trigger=draw(texts),
    )
    return Frame(header, np.frombuffer(content, np.uint8).reshape(height, width, channels))


@st.composite
def verdicts(draw: st.DrawFn, line: str | None = None) -> Verdict:
    result = draw(st.sampled_from(Result))
    judged = result is not Result.FAULT
    some_score = finite if judged else st.none() | finite
    score, threshold = draw(some_score), draw(some_score)
    if result is Result.OK and score is not None and threshold is not None:
        score, threshold = sorted((score, threshold))
    reasons = [reason for reason in FaultReason if reason is not FaultReason.NONE]
    return Verdict(
        line=line if line is not None else draw(names),
        epoch=draw(counters),
        seq=draw(seqs),
        part_id=draw(texts),
        result=result,
        fault=FaultReason.NONE if judged else draw(st.sampled_from(reasons)),
        detail=draw(texts),
        score=score,
        threshold=threshold,
        calibrated=draw(st.booleans()),
        s_global=draw(st.none() | finite),
        s_local_max=draw(st.none() | finite),
        region=draw(st.none() | st.builds(Region, *[st.integers(0, 9999)] * 2, *[st.integers(1, 9999)] * 3)),
        reasons=tuple(draw(st.lists(st.builds(Reason, texts, finite), max_size=5))),
        prompts=draw(hashes),
        bank=draw(hashes),
        model=draw(hashes),
        calibration=draw(hashes),
        recipe=draw(st.integers(0, 65535)),
        timings=draw(st.builds(Timings, *[finite] * 5)),
        captured_wall_ns=draw(counters),
        captured_mono_ns=draw(counters),
        published_wall_ns=draw(counters),
        published_mono_ns=draw(counters),
        boot=draw(hashes),
        judged_by=draw(texts),
    )


def repacked(parts: list[Part], **changes: object) -> list[Part]:
    """The same message with other header fields, as another implementation might send it."""
    fields = msgpack.unpackb(parts[1])
    return [parts[0], msgpack.packb({**fields, **changes}), *parts[2:]]
