"""One line as the I/O loop sees it: what arrived, what is owed a FAULT, what was published."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator

from alfa.calibration import Calibration
from edge.detector.accounting import SequenceTracker
from edge.detector.history import History
from edge.detector.queues import Displaced
from edge.detector.stage_times import counter_names, observed
from edge.detector.verdicts import Stamp, fault, lost
from edge.heart import Heart
from edge.messages import DecodeError, FaultReason, FrameHeader, Part, Result, Verdict

_COUNTERS = (
    "received",
    "judged",
    "ok",
    "ng",
    "fault",
    *(str(reason) for reason in FaultReason if reason is not FaultReason.NONE),
    "side_was_empty",
    "duplicate",
    "implausible_seq",
    "clock_skewed",
    "calibrated_at_another_size",
    "reloaded",
    "reload_refused",
    "picture_dropped",
    "queue",
    "prepared",
    *counter_names(),
)


class Line:
    """Accounts for one line's parts and counts them.

    Args:
        name: the line.
        epoch: of this start of the detector, for its beats.
        stamp: what verdicts carry until a recipe is loaded.
        history: how many verdicts are kept for replay.
        free_running: its frames are no parts: a skipped one is owed nothing.

    Attributes:
        trouble: why this line, and no other, is in FAULT at present, or empty.
    """

    def __init__(self, name: str, epoch: int, stamp: Stamp, history: int, free_running: bool = False) -> None:
        self.name = name
        self.stamp = stamp
        self.history = History(name, history)
        self.heart = Heart("detector", name, epoch)
        # All from the start: a counter that appears only with its first fault cannot be watched.
        self.heart.counters.update(dict.fromkeys(_COUNTERS, 0))
        self._free_running = free_running
        self._tracker = SequenceTracker()
        self._losses: deque[tuple[int, range]] = deque()
        self._calibration: Calibration | None = None
        self.trouble = ""

    def use(self, stamp: Stamp, calibration: Calibration | None = None) -> None:
        """What verdicts carry, and metrics tell, from now on; and the thresholds they come from."""
        self.stamp = stamp
        self._calibration = calibration
        self.heart.about = {name: str(value) for name, value in dataclasses.asdict(stamp).items()}

    def size_doubt(self, header: FrameHeader) -> str:
        """What is wrong with an image's size under the line's calibration; empty where nothing is."""
        side = max(header.height, header.width)
        if self._calibration is None or self._calibration.is_for_side(side):
            return ""
        made = self._calibration.image_side
        return f"made of images of {made} pixels, the camera sends {side}: scores are others; alfa-calibrate"

    def arrived(self, header: FrameHeader) -> bool:
        """Account for a frame; False where its part has a verdict, or is owed one, already."""
        sighting = self._tracker.see(header.epoch, header.seq)
        if sighting.implausible:
            self.count("implausible_seq")
            self.trouble = f"seq {header.seq} is too far ahead to be believed"
            return False
        self.trouble = ""
        if not sighting.fresh:
            self.count("duplicate")
            return False
        if sighting.missing:
            self._losses.append((header.epoch, sighting.missing))
        self.count("received")
        self.heart.last_seq = header.seq
        return True

    def displaced(self, displaced: Displaced) -> Verdict | None:
        """The FAULT of a frame that found no room; None where it is only counted."""
        if self._free_running and displaced.reason is FaultReason.SKIPPED:
            self.count(str(displaced.reason))
            return None
        return fault(displaced.frame.header, displaced.reason, "the detector was busy", self.stamp)

    def unreadable(self, header: FrameHeader, error: DecodeError) -> Verdict:
        """The FAULT of a part that is known, and its image is not."""
        return fault(header, FaultReason.UNDECODABLE, f"{error.reason}: {error}", self.stamp)

    @property
    def owes_losses(self) -> bool:
        """Whether parts are known to be lost that have no verdict yet."""
        return bool(self._losses)

    def losses(self, most: int) -> Iterator[Verdict]:
        """Verdicts of up to `most` lost parts; the rest stay owed, so that a large gap is told in pieces."""
        while self._losses and most > 0:
            epoch, missing = self._losses.popleft()
            now, later = missing[:most], missing[most:]
            if later:
                self._losses.appendleft((epoch, later))
            most -= len(now)
            for seq in now:
                yield lost(self.name, epoch, seq, self.stamp)

    def published(self, verdict: Verdict, message: list[Part]) -> None:
        """Count a verdict that went out and keep its message for replay."""
        self.history.add(message)
        if verdict.result is Result.FAULT:
            self.count("fault")
            self.count(str(verdict.fault))
        else:
            self.count("judged")
            for counter, increment in observed(verdict.timings):
                self.count(counter, increment)
            if verdict.side_was_empty:
                self.count("side_was_empty")
            self.count(verdict.result.lower())

    def count(self, counter: str, increment: int = 1) -> None:
        """Add to a counter of the beat."""
        self.heart.counters[counter] += increment
