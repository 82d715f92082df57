"""What the demo concludes: accounting, confusion against the known truth, latency, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge.demo.audience import Heard
from edge.messages import Result, Verdict


@dataclass(frozen=True, slots=True)
class Confusion:
    """Parts by truth and verdict; a part that was not judged (FAULT) counts on neither side."""

    good_ok: int
    good_ng: int
    defective_ok: int
    defective_ng: int
    not_judged: int

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the share of good parts passed and of defective parts caught; 0.5 is chance."""
        good, defective = self.good_ok + self.good_ng, self.defective_ok + self.defective_ng
        if not good or not defective:
            return float("nan")
        return (self.good_ok / good + self.defective_ng / defective) / 2


def confusion(verdicts: Mapping[int, Verdict], defective: Mapping[int, bool]) -> Confusion:
    """Compare verdicts with the truth, both by seq."""
    pairs = [(defective[seq], verdict.result) for seq, verdict in verdicts.items()]
    return Confusion(
        good_ok=pairs.count((False, Result.OK)),
        good_ng=pairs.count((False, Result.NG)),
        defective_ok=pairs.count((True, Result.OK)),
        defective_ng=pairs.count((True, Result.NG)),
        not_judged=sum(result is Result.FAULT for _, result in pairs),
    )


def latency_percentile(latencies_ms: list[float], percentile: float) -> float:
    """Milliseconds from capture to verdict; NaN where nothing was judged."""
    return float(np.percentile(latencies_ms, percentile)) if latencies_ms else float("nan")


def line_problems(heard: Heard, parts: int, recorded: int, found: Confusion) -> list[str]:
    """Everything about the line itself that is not as it must be; empty when all is well.

    Args:
        heard: what the demo's subscriber heard.
        parts: how many parts the camera was told to capture.
        recorded: verdicts in the results service's database.
        found: the confusion of what was heard.
    """
    checks = [
        (heard.captured == parts, f"camera captured {heard.captured} of {parts} parts"),
        (len(heard.verdicts) == parts, f"{len(heard.verdicts)} verdicts for {parts} parts"),
        (heard.repeated == 0, f"{heard.repeated} parts had more than one verdict"),
        (recorded == parts, f"{recorded} verdicts recorded for {parts} parts"),
        (found.not_judged == 0, f"{found.not_judged} parts ended as FAULT"),
        (found.balanced_accuracy > 0.5, f"verdicts no better than chance ({found.balanced_accuracy:.2f})"),
    ]
    return [problem for holds, problem in checks if not holds]
