"""Which parts a detector owes a verdict for: pure bookkeeping over (epoch, seq).

Within an epoch the camera counts its captures from 0, so a jump in `seq` is a proof that parts were captured
and did not arrive. Each seq comes out of here once: as a fresh frame or as missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.messages import MOST_LOST_AT_ONCE

# A camera that restarts this often while an old frame of it is still under way is out of order itself.
_EPOCHS_REMEMBERED = 16
# So many frames in a row that continue a jump make it true: one broken header does not.
_FRAMES_THAT_CONFIRM = 8


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one arrived frame says.

    Attributes:
        fresh: the part has no verdict yet and gets one; False for a repeated or older seq.
        missing: the seqs of the same epoch that this arrival proves lost; each gets FAULT(frame_lost).
        implausible: the seq is further ahead than parts can be lost, and not believed: the frame is to be
            dropped. If it was true, the camera's own count tells the results service of its part.
    """

    fresh: bool
    missing: range
    implausible: bool = False


_NOT_FRESH = Sighting(fresh=False, missing=range(0))
_IMPLAUSIBLE = Sighting(fresh=False, missing=range(0), implausible=True)


class SequenceTracker:
    """Follows one line's frames.

    The first epoch seen starts where it is seen: what the camera captured before the detector came, only the
    camera's own count tells (the results service raises no_verdict). Every later epoch is a camera restart
    under a running detector and starts at 0.

    A jump above `MOST_LOST_AT_ONCE` is taken back by the next frame that follows what came before it. Where
    none does and frames go on after the jump, it is true (the detector was cut off for hours): they are fresh
    again, and the parts between are left to the camera's own count.
    """

    def __init__(self) -> None:
        self._expected: dict[int, int] = {}  # epoch -> the seq that comes next, oldest epoch first
        self._doubted: tuple[int, int] | None = None  # epoch and next seq after a jump that is not believed
        self._doubted_frames = 0

    def see(self, epoch: int, seq: int) -> Sighting:
        """Account for an arrived frame; constant time however large the gap."""
        expected = self._expected.get(epoch)
        if expected is None:
            expected = 0 if self._expected else seq
        if seq < expected:
            return _NOT_FRESH
        if seq - expected > MOST_LOST_AT_ONCE:
            if not self._is_confirmed(epoch, seq):
                return _IMPLAUSIBLE
            expected = seq
        self._doubted = None
        self._expected[epoch] = seq + 1
        self._forget_oldest()
        return Sighting(fresh=True, missing=range(expected, seq))

    def _is_confirmed(self, epoch: int, seq: int) -> bool:
        """Whether enough frames have continued the same jump, this one included."""
        self._doubted_frames = self._doubted_frames + 1 if self._doubted == (epoch, seq) else 1
        self._doubted = epoch, seq + 1
        return self._doubted_frames >= _FRAMES_THAT_CONFIRM

    def _forget_oldest(self) -> None:
        if len(self._expected) > _EPOCHS_REMEMBERED:
            del self._expected[next(iter(self._expected))]
