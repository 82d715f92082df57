"""Overlays from the line's own map messages: judged image, map on its fixed scale, region, score."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from alfa.errors import Fault
from alfa.overlay import overlay
from alfa.region import Region
from edge.demo.audience import Heard
from edge.messages import AnomalyMap, Verdict


def write_overlays(heard: Heard, directory: Path) -> int:
    """One PNG for every part whose map message carried a picture; gives how many."""
    directory.mkdir(parents=True, exist_ok=True)
    pairs = [(heard.verdicts[seq], found) for seq, found in heard.maps.items() if seq in heard.verdicts]
    shown = [(verdict, found) for verdict, found in pairs if found.jpeg and found.values.size]
    for verdict, anomaly_map in shown:
        _write_overlay(verdict, anomaly_map, directory / f"part-{verdict.seq:03d}-{verdict.result}.png")
    return len(shown)


def _write_overlay(verdict: Verdict, anomaly_map: AnomalyMap, path: Path) -> None:
    image = cv2.imdecode(np.frombuffer(anomaly_map.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise Fault("demo_picture_broken", f"the map message of part {verdict.seq} holds no readable JPEG")
    header = anomaly_map.header
    text = f"{verdict.result} {verdict.score:.3f} / {verdict.threshold:.3f}"
    picture = overlay(
        image.astype(np.uint8, copy=False),
        anomaly_map.values,
        _region_in(image.shape[1] / (header.captured_width or image.shape[1]), verdict),
        (header.median, header.threshold),
        text,
    )
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _region_in(scale: float, verdict: Verdict) -> Region | None:
    """The verdict's region, which is told in pixels as captured, in a picture that may have been shrunk."""
    found = verdict.region
    if found is None:
        return None
    x, y, width, height = (round(scale * side) for side in (found.x, found.y, found.width, found.height))
    return Region(x, y, max(1, width), max(1, height), max(1, round(scale * scale * found.area)))
