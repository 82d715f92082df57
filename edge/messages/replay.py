"""The verdicts that a detector still holds, for a results service that was away.

    part 0   replay/{line}/          results -> detector
    part 1   msgpack ReplayRequest

    part 0   replay/{line}/          detector -> results
    part 1.. msgpack Verdict         one part a verdict, oldest first; none where nothing is held

The verdicts are packed as they were when they were published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import with_config

from edge.messages.codec import LENIENT, LONGEST_SHOWN, VERSION, HeaderCodec, Part, expect_topic
from edge.messages.errors import WrongParts, WrongTopic
from edge.messages.fields import NAME_PATTERN, Line
from edge.messages.verdict import Verdict, unpack_verdict

_TOPIC = re.compile(f"replay/{NAME_PATTERN.strip('^$')}/".encode())


@with_config(LENIENT)
@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Asks a detector for all verdicts of a line that it still holds."""

    line: Line
    v: int = VERSION


_REQUEST = HeaderCodec(ReplayRequest)


def replay_topic(line: str) -> bytes:
    """`replay/{line}/`."""
    return f"replay/{line}/".encode()


def encode_replay_request(request: ReplayRequest) -> list[Part]:
    """Topic and header."""
    return [replay_topic(request.line), _REQUEST.pack(request)]


def decode_replay_request(parts: Sequence[Part]) -> ReplayRequest:
    """The reverse of `encode_replay_request`.

    Raises:
        DecodeError: one of its subclasses.
    """
    return _REQUEST.unpack_message(parts, lambda request: replay_topic(request.line))


def encode_replay(line: str, published: Iterable[Sequence[Part]]) -> list[Part]:
    """Topic, then one packed verdict a part, oldest first.

    Args:
        line: whose verdicts they are.
        published: the messages of `encode_verdict`, as they went out: packing a long history anew would hold
            up the loop that answers.
    """
    return [replay_topic(line), *(packed for _, packed in published)]


def decode_replay(parts: Sequence[Part]) -> list[Verdict]:
    """The reverse of `encode_replay`.

    Raises:
        DecodeError: one of its subclasses.
    """
    if not parts:
        raise WrongParts("no parts in a replay")
    # A replay without verdicts has no header to compare its topic with.
    if not _TOPIC.fullmatch(parts[0]):
        raise WrongTopic(f"topic {bytes(parts[0][:LONGEST_SHOWN])!r} is no replay's")
    verdicts = [unpack_verdict(packed) for packed in parts[1:]]
    for verdict in verdicts:
        expect_topic(parts[0], replay_topic(verdict.line))
    return verdicts
