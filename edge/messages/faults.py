"""Why a part was not judged, and the number by which the PLC knows it."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class FaultReason(StrEnum):
    """Why a part was not judged. The PLC shows the number (`fault_code`)."""

    NONE = ""
    FRAME_LOST = "frame_lost"
    STALE = "stale"
    SKIPPED = "skipped"
    QUEUE_FULL = "queue_full"
    UNDECODABLE = "undecodable"
    NON_FINITE = "non_finite"
    MODEL_ERROR = "model_error"
    NO_VERDICT = "no_verdict"


class FaultCode(IntEnum):
    """PLC register 9: reasons of a part's FAULT (1-99) and of a loss on the line (100 and up)."""

    NONE = 0
    FRAME_LOST = 1
    STALE = 2
    SKIPPED = 3
    QUEUE_FULL = 4
    UNDECODABLE = 5
    NON_FINITE = 6
    MODEL_ERROR = 7
    NO_VERDICT = 8
    CAMERA_LOST = 100
    DETECTOR_LOST = 101
    RECORD_FAILED = 102
    PLC_LOST = 103
    RESULTS_LOST = 104
    COUNT_DOUBTED = 105
    PLC_STOPPED = 106


def fault_code(reason: FaultReason) -> FaultCode:
    """The number the PLC sees for a reason."""
    return FaultCode[reason.name]
