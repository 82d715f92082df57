"""What stands in for cameras: videos, and a network camera over a real socket."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

FRAMES = 4


@pytest.fixture
def write_video() -> Callable[..., None]:
    """`write_video(path)`: four frames of 64 x 48 at 10 a second, each brighter than the one before."""

    def write(path: Path, frames: int = FRAMES) -> None:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
        for number in range(frames):
            writer.write(np.full((48, 64, 3), 60 * number % 256, np.uint8))
        writer.release()

    return write


class NetworkCamera:
    """Streams JPEGs over HTTP, as network cameras do; shows what the test says, when it says so."""

    def __init__(self) -> None:
        self._images: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # Bound at once, so that the address is known; nobody is answered before `plug_in`.
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(), bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.server_bind()
        self._plugged_in = False

    @property
    def address(self) -> str:
        """What `device` names."""
        return f"http://127.0.0.1:{self._server.server_port}/live.mjpg"

    def plug_in(self) -> None:
        """From now on it can be reached."""
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._plugged_in = True

    def show(self, *levels: int) -> None:
        """Deliver one even image of 64 x 48 for each grey level."""
        for level in levels:
            _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))
            self._images.put(jpeg.tobytes())

    def close(self) -> None:
        """Go away."""
        if self._plugged_in:
            self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        images = self._images

        class Stream(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=image")
                self.end_headers()
                while True:
                    jpeg = images.get()
                    head = f"--image\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: its requests are not the test's output."""

        return Stream


@pytest.fixture
def network_camera() -> Iterator[NetworkCamera]:
    """A network camera that is not plugged in yet."""
    camera = NetworkCamera()
    yield camera
    camera.close()
