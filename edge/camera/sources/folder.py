"""Images of a directory in the order of their names: a line without a camera."""

from __future__ import annotations

from pathlib import Path

from alfa.errors import BadInput
from alfa.images import list_images, read_image
from edge.camera.sources.base import END, Captured, End, Shot, Trouble, Unreadable
from edge.messages import LONGEST_PART_ID
from edge.settings import FolderSource


class ImageFolder:
    """Each file is one part; its part id is the file's name without suffix."""

    trouble: Trouble | None = None

    def __init__(self, settings: FolderSource) -> None:
        self._settings = settings
        self._paths: list[Path] = []
        self._next = 0

    @property
    def rate_hz(self) -> float:
        """As set."""
        return self._settings.rate_hz

    def open(self) -> None:
        """List the directory; files that come later are not seen.

        Raises:
            BadInput: there is no such directory, or no image in it.
        """
        self._paths = list_images(self._settings.path)
        self._next = 0

    def read(self, timeout_s: float) -> Shot | End | None:
        """The next file's image; a file that is no usable image is still a part that came by."""
        if self._next == len(self._paths):
            if not self._settings.loop:
                return END
            self._next = 0
        path = self._paths[self._next]
        self._next += 1
        part_id = _part_id(path)
        try:
            return Captured(read_image(path), "rgb", part_id)
        except BadInput as error:
            return Unreadable(part_id, str(error))

    def close(self) -> None:
        """Nothing to let go of."""


def _part_id(path: Path) -> str:
    # A file name may hold bytes that are no text; the wire carries UTF-8 only.
    return path.stem.encode("utf-8", "replace").decode("utf-8")[:LONGEST_PART_ID]
