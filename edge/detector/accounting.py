"""Which parts a detector owes a verdict for: pure bookkeeping over (epoch, seq).

Within an epoch the camera counts its captures from 0, so a jump in `seq` is a proof that parts were captured
and did not arrive. Each seq comes out of here once: as a fresh frame or as missing.
"""

from __future__ import annotations

from dataclasses import dataclass

# A camera that restarts this often while an old frame of it is still under way is out of order itself.
_EPOCHS_REMEMBERED = 16


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one arrived frame says.

    Attributes:
        fresh: the part has no verdict yet and gets one; False for a repeated or older seq.
        missing: the seqs of the same epoch that this arrival proves lost; each gets FAULT(frame_lost).
    """

    fresh: bool
    missing: range


_NOT_FRESH = Sighting(fresh=False, missing=range(0))


class SequenceTracker:
    """Follows one line's frames.

    The first epoch seen starts where it is seen: what the camera captured before the detector came, only the
    camera's own count tells (the results service raises no_verdict). Every later epoch is a camera restart
    under a running detector and starts at 0.
    """

    def __init__(self) -> None:
        self._expected: dict[int, int] = {}  # epoch -> the seq that comes next, oldest epoch first

    def see(self, epoch: int, seq: int) -> Sighting:
        """Account for an arrived frame; constant time however large the gap."""
        expected = self._expected.get(epoch)
        if expected is None:
            expected = 0 if self._expected else seq
        if seq < expected:
            return _NOT_FRESH
        self._expected[epoch] = seq + 1
        self._forget_oldest()
        return Sighting(fresh=True, missing=range(expected, seq))

    def _forget_oldest(self) -> None:
        if len(self._expected) > _EPOCHS_REMEMBERED:
            del self._expected[next(iter(self._expected))]
