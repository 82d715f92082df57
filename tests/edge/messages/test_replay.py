"""The verdicts that a detector still holds survive the wire, as narrow as when they were published."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages import (
    MalformedHeader,
    Part,
    ReplayRequest,
    Verdict,
    WrongTopic,
    decode_replay,
    decode_replay_request,
    encode_replay,
    encode_replay_request,
    encode_verdict,
)
from tests.edge.messages.examples import a_verdict, names, verdicts


def replay(line: str, history: list[Verdict]) -> list[Part]:
    return encode_replay(line, map(encode_verdict, history))


@given(names)
def test_replay_request_survives_the_wire(line: str) -> None:
    """The line comes back equal."""
    assert decode_replay_request(encode_replay_request(ReplayRequest(line))).line == line


@given(st.lists(verdicts(line="line1"), max_size=4))
def test_replay_survives_the_wire(history: list[Verdict]) -> None:
    """All verdicts come back, in their order."""
    assert decode_replay(replay("line1", history)) == history


def test_contradicting_verdict_is_refused_in_a_replay_too() -> None:
    """The second way to a verdict is as narrow as the first."""
    wrong = dataclasses.replace(a_verdict(), score=None)
    with pytest.raises(MalformedHeader):
        decode_replay(replay("line1", [a_verdict(), wrong]))


@pytest.mark.parametrize(
    "topic", [b"replay/", b"replay//", b"replay/line1", b"replay/a b/", b"verdict/line1/"]
)
def test_empty_replay_of_no_line_is_a_wrong_topic(topic: bytes) -> None:
    """Without verdicts there is no header to compare with, but a line it must be."""
    with pytest.raises(WrongTopic):
        decode_replay([topic])


def test_replay_of_another_line_is_a_wrong_topic() -> None:
    """A verdict that belongs to another line than the reply is refused."""
    with pytest.raises(WrongTopic):
        decode_replay(replay("line10", [a_verdict()]))
