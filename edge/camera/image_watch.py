"""Whether a camera still shows the world: one that hangs sends nothing, or one image again and again."""

from __future__ import annotations

import math

from edge.camera.sources.base import Captured, Shot, Trouble, Unreadable

# Enough to tell two images of a sensor apart, which never repeats its noise, for little of a frame's time.
_SAMPLED_PIXELS = 16_384


class ImageWatch:
    """Watches what a source delivers. Pure; times are seconds on the monotonic clock.

    Args:
        silent_after_s: no image for longer is `camera_silent`; 0: a source may be silent for ever.
        frozen_after: this many equal images in a row are `camera_frozen`; 0: images may repeat.
        now_s: when it begins.
    """

    def __init__(self, silent_after_s: float, frozen_after: int, now_s: float) -> None:
        self._silent_after_s = silent_after_s
        self._frozen_after = frozen_after
        self._last_s = now_s
        self._sample: tuple[tuple[int, ...], bytes] | None = None
        self._equal = 0

    def checked(self, shot: Shot, now_s: float) -> Shot:
        """The shot as it came, or without its image where that is the camera's past and not the part."""
        self._last_s = now_s
        if not self._frozen_after or not isinstance(shot, Captured):
            return shot
        sample = _sample(shot)
        self._equal = self._equal + 1 if sample == self._sample else 1
        self._sample = sample
        if not self._is_frozen:
            return shot
        return Unreadable(shot.part_id, str(self._frozen), shot.mono_ns, shot.wall_ns)

    def trouble(self, now_s: float) -> Trouble | None:
        """What is wrong now."""
        if self._is_frozen:
            return self._frozen
        silent_s = now_s - self._last_s
        if self._silent_after_s and silent_s > self._silent_after_s:
            return Trouble("camera_silent", f"no image for {silent_s:.0f} s")
        return None

    @property
    def _is_frozen(self) -> bool:
        return bool(self._frozen_after) and self._equal >= self._frozen_after

    @property
    def _frozen(self) -> Trouble:
        return Trouble("camera_frozen", f"the same image {self._equal} times in a row")


def _sample(captured: Captured) -> tuple[tuple[int, ...], bytes]:
    """The image's shape, and its pixels on a coarse grid."""
    height, width, _ = captured.pixels.shape
    step = max(1, math.isqrt(height * width // _SAMPLED_PIXELS))
    return captured.pixels.shape, captured.pixels[::step, ::step].tobytes()
