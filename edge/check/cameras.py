"""Each line's source: does it open and give an image?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from alfa.errors import Fault
from edge.camera.sources.base import Captured, End, ImageSource, Shot
from edge.camera.sources.choice import make_source
from edge.check.findings import Check, Finding
from edge.check.running import is_elsewhere, is_served
from edge.settings import Settings

# A network camera may take five seconds to open; a line at 0.1 parts a second takes ten.
PATIENCE_S = 15.0
_READ_S = 0.5
_ADVICE = "check cable, power, address and `source` of the line; no other program may use the camera"
_ADVICE_FILES = "check `source` of the line"


def check_cameras(settings: Settings, patience_s: float = PATIENCE_S) -> Iterator[Finding]:
    """One finding a line; where its camera service runs, the source is left alone."""
    for name, line in settings.lines.items():
        check = Check("camera", name)
        endpoint = settings.camera_endpoint(name)
        if is_elsewhere(endpoint):
            yield check.ok(f"on another host ({endpoint}); run edge-check there")
        elif is_served(endpoint):
            yield check.ok("in use by edge-camera, which runs; edge-watch shows its state")
        else:
            source = make_source(line.source)
            advice = _ADVICE_FILES if line.source.kind in ("folder", "video") else _ADVICE
            yield check.tried_within(patience_s, partial(_look, check, source, advice), advice)


def _look(check: Check, source: ImageSource, advice: str) -> Finding:
    """Open the source and wait for one part; whoever calls has the patience."""
    try:
        source.open()
        shot = _first_part(source)
    finally:
        source.close()
    if isinstance(shot, Captured):
        height, width, _ = shot.pixels.shape
        return check.ok(f"gives images of {width} x {height}, {shot.colour}")
    why = "has no parts" if isinstance(shot, End) else f"part {shot.part_id!r} is no image: {shot.why}"
    return check.fail(why, advice)


def _first_part(source: ImageSource) -> Shot | End:
    """Wait for it.

    Raises:
        Fault: the source says itself that nothing comes; its service would go on trying, this does not.
    """
    while (shot := source.read(_READ_S)) is None:
        if source.trouble is not None:
            raise Fault(source.trouble.name, source.trouble.detail)
        # Some sources answer at once that there is nothing yet.
        time.sleep(_READ_S / 10)
    return shot
