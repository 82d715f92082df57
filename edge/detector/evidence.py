"""The picture beside a verdict: which parts get one, and the map message that carries it."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np

from alfa.inspector import Inspection
from edge.messages import MAX_JPEG_BYTES, AnomalyMap, FaultReason, Frame, MapHeader, Result, SlotLost, Verdict

# A part that found no room or came too late has pixels too, but encoding them would deepen the overload.
_FAULTS_WITH_PICTURE = frozenset({FaultReason.NON_FINITE, FaultReason.MODEL_ERROR})
_NO_MAP = np.empty((0, 0), np.float16)


class PictureChooser:
    """Says which verdicts get a picture: every NG, faults of judging, and every n-th OK of a line."""

    def __init__(self, every_ok: int) -> None:
        self._every_ok = every_ok
        self._ok: Counter[str] = Counter()

    def wants(self, verdict: Verdict) -> bool:
        """Ask once for each verdict: OK parts are counted here."""
        if verdict.result is Result.OK:
            self._ok[verdict.line] += 1
            return self._ok[verdict.line] % self._every_ok == 0
        return verdict.result is Result.NG or verdict.fault in _FAULTS_WITH_PICTURE


def picture(
    frame: Frame,
    verdict: Verdict,
    inspection: Inspection | None,
    scale: tuple[float, float],
    quality: int,
) -> AnomalyMap:
    """The map message of a judged frame; without values where there was no inspection or it is not finite.

    Args:
        frame: as captured.
        verdict: of this frame.
        inspection: of this frame, if it got so far.
        scale: (good median, threshold) of the map.
        quality: of the JPEG, 0-100.
    """
    values = inspection.anomaly_map if inspection is not None and inspection.finite else _NO_MAP
    captured_height, captured_width = frame.header.captured_size
    header = MapHeader(
        line=verdict.line,
        epoch=verdict.epoch,
        seq=verdict.seq,
        result=verdict.result,
        height=values.shape[0],
        width=values.shape[1],
        median=scale[0],
        threshold=scale[1],
        captured_height=captured_height,
        captured_width=captured_width,
    )
    return AnomalyMap(header, values, _whole_jpeg(frame, quality))


def _whole_jpeg(frame: Frame, quality: int) -> bytes:
    """Of this part's pixels, or empty: a picture of another part would be worse than none."""
    jpeg = encode_jpeg(frame, quality)
    try:
        frame.require_whole()
    except SlotLost:
        return b""
    return jpeg


def encode_jpeg(frame: Frame, quality: int) -> bytes:
    """The frame's pixels as JPEG; empty where JPEG cannot hold them (above 65,500 pixels a side, or huge)."""
    pixels = frame.pixels
    if frame.header.colour == "rgb":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    try:
        encoded, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:
        # The verdict is what counts and is out already; the map goes without its picture.
        return b""
    # OpenCV 5 says False where OpenCV 4 raises.
    return jpeg.tobytes() if encoded and jpeg.nbytes <= MAX_JPEG_BYTES else b""
