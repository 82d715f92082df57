"""Growing pauses between attempts that never end: what is lost may be back after a second or a weekend."""

from __future__ import annotations


class BackOff:
    """Pauses that double up to a limit.

    Args:
        first_s: the pause after the first failure.
        longest_s: no pause is longer.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def pause_s(self) -> float:
        """How long to wait now; the next pause is twice as long."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        return pause_s

    def reset(self) -> None:
        """It worked: begin with the first pause again."""
        self._next_s = self._first_s
