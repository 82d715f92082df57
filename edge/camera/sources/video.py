"""A video file, frame by frame, at its own rate or another."""

from __future__ import annotations

import time

import cv2
import numpy as np
import numpy.typing as npt

from alfa.errors import BadInput
from edge.backoff import BackOff
from edge.camera.sources.base import END, FIRST_PAUSE_S, LONGEST_PAUSE_S, Captured, End, Shot, Trouble
from edge.camera.sources.opencv import open_capture
from edge.settings import VideoSource

_RATE_WHERE_FILE_HAS_NONE = 25.0


class VideoFile:
    """Each frame is one part; its part id is its number in the file, from 0."""

    def __init__(self, settings: VideoSource) -> None:
        self._settings = settings
        self._capture: cv2.VideoCapture | None = None
        self._number = 0
        self._back_off = BackOff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._retry_at_s = 0.0
        self.trouble: Trouble | None = None

    @property
    def rate_hz(self) -> float:
        """As set, else as the file says; known once open."""
        own = 0.0 if self._capture is None else float(self._capture.get(cv2.CAP_PROP_FPS))
        return self._settings.rate_hz or (own if own > 0 else _RATE_WHERE_FILE_HAS_NONE)

    def open(self) -> None:
        """Open the file at its first frame.

        Raises:
            BadInput: there is no such file, or OpenCV cannot read it.
        """
        path = self._settings.path
        try:
            found = path.is_file()
        except OSError as error:
            raise BadInput(path, "", None, f"cannot be read: {error.strerror}; check the path") from error
        if not found:
            raise BadInput(path, "", None, "no such file; check the path")
        self._capture = open_capture(str(path))
        if self._capture is None:
            raise BadInput(path, "", None, "is no video that OpenCV can read; convert it to MP4 or AVI")
        self._number = 0

    def read(self, timeout_s: float) -> Shot | End | None:
        """The next frame; at the end of the file the first again where `loop` is set.

        A file that is gone by then is trouble, as a camera that is unplugged: it is tried until it is back.
        """
        pixels = self._decoded()
        if pixels is None and not self._settings.loop:
            return END
        if pixels is None:
            pixels = self._first_again(timeout_s)
        if pixels is None:
            return None
        captured = Captured(pixels, "bgr", str(self._number))
        self._number += 1
        return captured

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _first_again(self, timeout_s: float) -> npt.NDArray[np.uint8] | None:
        """The file's first frame, or None and `trouble`; waits while it is too early to try again."""
        early_s = self._retry_at_s - time.monotonic()
        if early_s > 0:
            time.sleep(min(early_s, timeout_s))
            return None
        self.close()
        try:
            self.open()
        except BadInput as error:
            why = str(error)
        else:
            why = f"{self._settings.path}: no frame of it can be read"
        pixels = self._decoded()
        if pixels is None:
            self.trouble = Trouble("camera_lost", why)
            self._retry_at_s = time.monotonic() + self._back_off.pause_s()
        else:
            self.trouble = None
            self._back_off.reset()
        return pixels

    def _decoded(self) -> npt.NDArray[np.uint8] | None:
        if self._capture is None:
            return None
        read, pixels = self._capture.read()
        return pixels if read else None
