"""The last verdicts of a line as they were published, for subscribers that came late or were away."""

from __future__ import annotations

from collections import deque

from edge.messages import Part, encode_replay


class History:
    """Keeps the published verdicts of one line, the oldest giving way.

    Args:
        line: its name.
        size: how many verdicts are kept.
    """

    def __init__(self, line: str, size: int) -> None:
        self._line = line
        self._published: deque[list[Part]] = deque(maxlen=size)

    def add(self, message: list[Part]) -> None:
        """Keep a verdict, given as the message of `edge.messages.encode_verdict`."""
        self._published.append(message)

    def replay(self) -> list[Part]:
        """The message that `edge.messages.decode_replay` reads: all that is kept, oldest first."""
        return encode_replay(self._line, self._published)
