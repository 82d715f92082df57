"""A disk that is soon full: a small tmpfs, and a ballast that takes what is left of it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

_SIZE = "24m"
_BLOCK = bytes(1 << 16)


class SmallDisk:
    """Mounted on an empty directory for as long as the `with` block lasts, where the kernel lets us.

    Args:
        directory: where.

    Attributes:
        there: whether it could be mounted: that needs root.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ballast = directory / "ballast"
        self.there = False

    def __enter__(self) -> Self:
        command = ("mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=750", "tmpfs", str(self._directory))
        self.there = os.geteuid() == 0 and _succeeds(*command)
        return self

    def __exit__(self, *_: object) -> None:
        if self.there:
            # Lazily: a process that did not end in time must not keep it.
            _succeeds("umount", "-l", str(self._directory))

    def fill(self) -> None:
        """Leave no byte free."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as ballast:
            while ballast.write(_BLOCK):
                pass

    def empty(self) -> None:
        """Give the room back."""
        if self.there:
            self._ballast.unlink(missing_ok=True)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603
