"""The one answer that a captured part gets, detector -> results and every subscriber.

    part 0   verdict/{line}/
    part 1   msgpack Verdict

OK, NG or FAULT: what the verdict says of itself must agree, or it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field, with_config

from edge.messages.codec import LENIENT, VERSION, HeaderCodec, Part
from edge.messages.errors import MalformedHeader
from edge.messages.faults import FaultReason
from edge.messages.fields import MAX_SIDE, Counter, Hash, Line, Number, PartId, Seq, Text


class Result(StrEnum):
    """What a part is; no answer is never OK."""

    OK = "OK"
    NG = "NG"
    FAULT = "FAULT"


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class Region:
    """Where the map is above its threshold, in pixels of the image as captured."""

    x: Annotated[int, Field(strict=True, ge=0, lt=MAX_SIDE)]
    y: Annotated[int, Field(strict=True, ge=0, lt=MAX_SIDE)]
    width: Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
    height: Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
    area: Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE**2)]


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class Reason:
    """A descriptor of an anomaly and its cosine similarity to the image (Sec. 5.4)."""

    text: Text
    similarity: Number


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds a frame spent in each stage; `total` runs from capture to publication."""

    queue: Number = 0.0
    preprocess: Number = 0.0
    infer: Number = 0.0
    post: Number = 0.0
    total: Number = 0.0


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class Verdict:
    """The one answer a captured part gets. Scores are None where the part was not judged (FAULT)."""

    line: Line
    epoch: Counter
    seq: Seq
    part_id: PartId
    result: Result
    fault: FaultReason = FaultReason.NONE
    detail: Text = ""
    score: Number | None = None
    threshold: Number | None = None
    calibrated: bool = False
    s_global: Number | None = None
    s_local_max: Number | None = None
    side_was_empty: bool = False  # a side would have lost all its prompts and kept them all (Sec. 4.2)
    region: Region | None = None
    reasons: Annotated[tuple[Reason, ...], Field(max_length=16)] = ()
    prompts: Hash = ""
    bank: Hash = ""
    model: Hash = ""
    calibration: Hash = ""
    recipe: Annotated[int, Field(ge=0, le=65535)] = 0
    timings: Timings = field(default_factory=Timings)
    captured_wall_ns: Counter = 0
    captured_mono_ns: Counter = 0
    published_wall_ns: Counter = 0
    published_mono_ns: Counter = 0
    boot: Hash = ""  # whose clock `published_mono_ns` is of, as in `FrameHeader`
    judged_by: Text = ""
    v: int = VERSION

    @property
    def key(self) -> tuple[str, int, int]:
        """(line, epoch, seq), as in `FrameHeader.key`."""
        return self.line, self.epoch, self.seq


_VERDICT = HeaderCodec(Verdict)


def missing_verdict(line: str, epoch: int, seq: int, fault: FaultReason, detail: str) -> Verdict:
    """FAULT of a part of which nothing but its number is known."""
    return Verdict(
        line=line, epoch=epoch, seq=seq, part_id="", result=Result.FAULT, fault=fault, detail=detail
    )


def verdict_topic(line: str) -> bytes:
    """`verdict/{line}/`."""
    return f"verdict/{line}/".encode()


def encode_verdict(verdict: Verdict) -> list[Part]:
    """Topic and header."""
    return [verdict_topic(verdict.line), _VERDICT.pack(verdict)]


def decode_verdict(parts: Sequence[Part]) -> Verdict:
    """The reverse of `encode_verdict`.

    Raises:
        DecodeError: one of its subclasses.
    """
    verdict = _VERDICT.unpack_message(parts, lambda verdict: verdict_topic(verdict.line))
    _check_judged(verdict)
    return verdict


def unpack_verdict(packed: Part) -> Verdict:
    """The verdict of its own part alone, wherever that part came from (`replay`).

    Raises:
        DecodeError: one of its subclasses.
    """
    verdict = _VERDICT.unpack(packed)
    _check_judged(verdict)
    return verdict


def _check_judged(verdict: Verdict) -> None:
    """A verdict that contradicts itself must not reach the PLC."""
    if verdict.result is Result.FAULT:
        if verdict.fault is FaultReason.NONE:
            raise MalformedHeader("fault: a FAULT verdict names its reason")
        return
    if verdict.fault is not FaultReason.NONE:
        raise MalformedHeader(f"fault: {verdict.fault} beside result {verdict.result}")
    judged: list[float] = []
    for name, value in (("score", verdict.score), ("threshold", verdict.threshold)):
        if value is None:
            raise MalformedHeader(f"{name}: {value} beside result {verdict.result}")
        judged.append(value)
    score, threshold = judged
    if verdict.result is Result.OK and score > threshold:
        raise MalformedHeader(f"score: {score} above threshold {threshold} beside result OK")
