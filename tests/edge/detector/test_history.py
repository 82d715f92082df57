"""The last verdicts can be asked for again."""

from __future__ import annotations

from edge.detector.history import History
from edge.messages import Result, Verdict, decode_replay, encode_verdict


def verdict(seq: int) -> Verdict:
    return Verdict("line1", epoch=1, seq=seq, part_id="", result=Result.OK, score=0.1, threshold=0.5)


def test_a_replay_holds_the_last_verdicts_oldest_first() -> None:
    """Of three verdicts a history of two replays the later two, as they were published."""
    history = History("line1", size=2)
    for seq in range(3):
        history.add(encode_verdict(verdict(seq)))
    assert decode_replay(history.replay()) == [verdict(1), verdict(2)]


def test_a_replay_without_verdicts_is_empty() -> None:
    """An answer comes all the same, so that who asks need not guess."""
    assert decode_replay(History("line1", size=2).replay()) == []
