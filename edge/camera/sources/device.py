"""A camera through OpenCV (USB or RTSP), read by a thread of its own.

A driver may block for seconds in a read or an open; the service must go on beating meanwhile, so only the
thread touches the device, and it reopens a lost one by itself with growing pauses.
"""

from __future__ import annotations

import queue
import re
import threading
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from alfa.errors import Fault
from edge.backoff import BackOff
from edge.camera.sources.base import FIRST_PAUSE_S, LONGEST_PAUSE_S, Captured, End, Shot, Trouble, Unreadable
from edge.camera.sources.opencv import open_capture
from edge.settings import DeviceSource

OPEN_TIMEOUT_MS = 5000
READ_TIMEOUT_MS = 3000
_WAITING_IMAGES = 4
_JOIN_S = 2.0


class CaptureDevice:
    """Each image the camera delivers is one part, at the camera's own pace, without a part id."""

    rate_hz = 0.0

    def __init__(self, settings: DeviceSource) -> None:
        self._settings = settings
        self._images: queue.Queue[Shot] = queue.Queue(_WAITING_IMAGES)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        # Written by the thread once it runs.
        self.trouble: Trouble | None = None

    def open(self) -> None:
        """Start reading the device; one that does not open is tried again, as one that is lost later."""
        capture = self._opened()
        if capture is None:
            self.trouble = Trouble(
                "camera_unavailable",
                f"device = {self._name}: does not open; check that it is connected and that no other "
                "program uses it",
            )
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, args=(capture,), name="capture", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float) -> Shot | End | None:
        """The oldest image not read yet, or None when none came in time.

        Raises:
            Fault: `camera_lost`: the reading thread is gone, so that nothing will ever come again.
        """
        try:
            return self._images.get(timeout=timeout_s)
        except queue.Empty:
            if self._thread is None or not self._thread.is_alive():
                raise Fault("camera_lost", f"device = {self._name}: its reading thread ended") from None
            return None

    def close(self) -> None:
        """Stop reading; a thread stuck in the driver is left behind and ends with the process."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            self._thread = None

    @property
    def _name(self) -> str:
        """The device as it may be shown: an address without user and password, wherever it has them."""
        device = str(self._settings.device)
        if "://" in device:
            device = re.sub(r"\?.*", "?***", re.sub(r"//[^/?]*@", "//***@", device))
        return repr(device)

    def _run(self, capture: cv2.VideoCapture | None) -> None:
        back_off = BackOff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not self._closing.is_set():
            if capture is not None:
                delivered = self._pump(capture)
                capture.release()
                if delivered:
                    back_off.reset()
                self.trouble = Trouble("camera_lost", f"device = {self._name}: lost; trying to open it again")
            if self._closing.wait(back_off.pause_s()):
                return
            capture = self._opened()

    def _pump(self, capture: cv2.VideoCapture) -> int:
        """Pass on images until the device fails or the source closes; how many there were."""
        delivered = 0
        while not self._closing.is_set():
            read, pixels = capture.read()
            if not read:
                return delivered
            self.trouble = None
            self._pass_on(_shot(pixels))
            delivered += 1
        return delivered

    def _pass_on(self, shot: Shot) -> None:
        while not self._closing.is_set():
            try:
                self._images.put(shot, timeout=0.1)
            except queue.Full:
                continue
            return

    def _opened(self) -> cv2.VideoCapture | None:
        device = str(self._settings.device)
        if "://" in device:
            timeouts = (
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                OPEN_TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                READ_TIMEOUT_MS,
            )
            return open_capture(device, cv2.CAP_FFMPEG, timeouts)
        capture = open_capture(int(device) if device.isdecimal() else device)
        if capture is not None:
            self._ask(capture)
        return capture

    def _ask(self, capture: cv2.VideoCapture) -> None:
        """What the camera is asked for; it may answer with the nearest mode that it has."""
        for wish, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self._settings.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self._settings.height),
            (cv2.CAP_PROP_FPS, self._settings.rate_hz),
        ):
            if value:
                capture.set(wish, value)


def _shot(pixels: npt.NDArray[Any]) -> Shot:
    if pixels.dtype != np.uint8:
        return Unreadable("", f"the camera delivers {pixels.dtype}; set it to 8 bits a channel")
    if pixels.ndim == 2:
        return Captured(pixels[..., None], "grey")
    if pixels.shape[2] != 3:
        return Unreadable("", f"the camera delivers {pixels.shape[2]} channels; set it to colour or grey")
    return Captured(pixels, "bgr")
