"""What a service says of itself twice a second, for each line; camera, detector, results -> everybody.

    part 0   beat/{service}/{line}/     service: camera, detector or results
    part 1   msgpack Beat

Who hears none for `results.lost_after_ms` takes the service for lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, with_config

from edge.messages.codec import LENIENT, VERSION, HeaderCodec, Part
from edge.messages.fields import Counter, CounterName, Line, Text, Whole

MOST_EARLIER_STARTS = 7


class ServiceState(StrEnum):
    """What a service says of itself in its beat."""

    STARTING = "STARTING"
    READY = "READY"
    PAUSED = "PAUSED"
    FAULT = "FAULT"


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class EarlierStart:
    """How many parts a camera had captured in a start before this one, its last moment included."""

    epoch: Counter
    captured: Counter


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class Beat:
    """Twice a second: what a service says of itself, per line.

    Counters only grow within an epoch, but for two of the detector's: `queue`, frames that wait at this
    moment, and `prepared`, how many of them are ready for the model; and three of results': `ng_open` and
    `fault_open`, alarm events that nobody has acknowledged, and `plc_connected`, 0 or 1.
    """

    service: Literal["camera", "detector", "results"]
    line: Line
    state: ServiceState
    epoch: Counter
    counters: Annotated[dict[CounterName, Whole], Field(max_length=128)]
    last_seq: Annotated[int, Field(ge=-1, lt=2**63)] = -1
    last_error: Text = ""
    wall_ns: Counter = 0
    pid: Counter = 0
    # Of a camera: a start that was killed cannot tell its last parts any more (`edge.camera.tally`).
    earlier: Annotated[tuple[EarlierStart, ...], Field(max_length=MOST_EARLIER_STARTS)] = ()
    v: int = VERSION


_BEAT = HeaderCodec(Beat)


def beat_topic(service: str, line: str) -> bytes:
    """`beat/{service}/{line}/`."""
    return f"beat/{service}/{line}/".encode()


def encode_beat(beat: Beat) -> list[Part]:
    """Topic and header."""
    return [beat_topic(beat.service, beat.line), _BEAT.pack(beat)]


def decode_beat(parts: Sequence[Part]) -> Beat:
    """The reverse of `encode_beat`.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _BEAT.unpack_message(parts, lambda beat: beat_topic(beat.service, beat.line))
