"""The last verdicts of a line as they were published, for subscribers that came late or were away."""

from __future__ import annotations

from collections import deque

from edge.messages import Part, replay_topic


class History:
    """Keeps the packed verdicts of one line, the oldest giving way.

    Packed, because a replay is then a list of references: packing a long history anew would hold up the loop
    that beats.

    Args:
        line: its name.
        size: how many verdicts are kept.
    """

    def __init__(self, line: str, size: int) -> None:
        self._topic = replay_topic(line)
        self._packed: deque[Part] = deque(maxlen=size)

    def add(self, message: list[Part]) -> None:
        """Keep a verdict, given as the message of `edge.messages.encode_verdict`."""
        _, packed = message
        self._packed.append(packed)

    def replay(self) -> list[Part]:
        """The message that `edge.messages.decode_replay` reads: all that is kept, oldest first."""
        return [self._topic, *self._packed]
