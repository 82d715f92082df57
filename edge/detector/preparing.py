"""What is done to a frame while it waits for its turn: fitted to the model, or refused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import cv2

from alfa.errors import AlfaError
from alfa.images import RgbImage
from alfa.preprocessing import Preprocessor
from edge.clocks import NS_PER_MS
from edge.messages import FaultReason, Frame, SlotLost

# What torch, OpenCV, numpy and alfa raise for a frame or a batch that cannot be judged; out of memory is a
# RuntimeError. Anything else is a bug and ends the detector.
JUDGING_ERRORS = (RuntimeError, ValueError, cv2.error, MemoryError, AlfaError)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a frame that arrived is not judged."""

    reason: FaultReason
    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A frame and what became of it while it waited.

    Attributes:
        frame: as it arrived.
        outcome: the image as the model reads it (`Preprocessor.fit`), or why there is none.
        begun_ns: when preparing began (CLOCK_MONOTONIC).
        done_ns: when it ended.
    """

    frame: Frame
    outcome: RgbImage | Refusal
    begun_ns: int
    done_ns: int

    @property
    def refusal(self) -> Refusal | None:
        """Why the frame is not judged; None where it may be."""
        return self.outcome if isinstance(self.outcome, Refusal) else None

    @property
    def image(self) -> RgbImage:
        """As the model reads it, (h, w, 3); only of a frame that is not refused."""
        assert not isinstance(self.outcome, Refusal)
        return self.outcome


class Preparer:
    """Prepares frames, one at a time; knows how old a frame of a line may be.

    Args:
        preprocessor: of the model.
        max_age_ms: by line, older frames are not judged.
    """

    def __init__(self, preprocessor: Preprocessor, max_age_ms: Mapping[str, int]) -> None:
        self._preprocessor = preprocessor
        self._max_age_ms = max_age_ms

    def prepare(self, frame: Frame) -> Prepared:
        """Fit a frame to the model, unless it is too old already; never raises for what is in the frame."""
        begun_ns = time.monotonic_ns()
        outcome: RgbImage | Refusal
        try:
            outcome = self.staleness(frame, begun_ns) or self._fitted(frame)
        except SlotLost as error:
            outcome = Refusal(FaultReason.UNDECODABLE, str(error))
        except JUDGING_ERRORS as error:
            outcome = refusal_of(error)
        return Prepared(frame, outcome, begun_ns, time.monotonic_ns())

    def _fitted(self, frame: Frame) -> RgbImage:
        """A copy in any case, which nobody writes any more; whole, or it is refused.

        Raises:
            SlotLost: the pixels were another part's before they were read to their end.
        """
        image = self._preprocessor.fit(frame.pixels, frame.header.colour)
        frame.require_whole()
        return image

    def staleness(self, frame: Frame, now_ns: int) -> Refusal | None:
        """STALE where a frame is older than its line allows: the part is past."""
        age_ms = (now_ns - frame.header.mono_ns) / NS_PER_MS
        if age_ms <= self._max_age_ms[frame.header.line]:
            return None
        return Refusal(FaultReason.STALE, f"{age_ms:.0f} ms old when its turn came")


def refusal_of(error: BaseException) -> Refusal:
    """MODEL_ERROR with the error's own words."""
    return Refusal(FaultReason.MODEL_ERROR, f"{type(error).__name__}: {error}")
