"""Files that commands write: checked before the work, one clear line when the disk fails after it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alfa.errors import BadInput, Fault
from alfa.files import write_atomic


def require_writable(option: str, path: Path) -> None:
    """Refuse an output path before minutes of work go into it.

    Raises:
        BadInput: `path` is a directory, or its directory cannot be made or written.
    """
    with _usable(option, path):
        if path.is_dir():
            raise BadInput(option, "", str(path), "is a directory; give a file name")
    require_writable_directory(option, path.parent)


def require_writable_directory(option: str, directory: Path) -> None:
    """The same for a directory that files will be written to; it may not exist yet.

    Raises:
        BadInput: it is a file, or cannot be made or written.
    """
    with _usable(option, directory):
        existing = next(parent for parent in (directory, *directory.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise BadInput(
            option, "", str(directory), f"{existing} is no directory that can be written; choose another"
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's error while `path` is written into a fault of one line.

    Raises:
        Fault: disk full, removed or read-only.
    """
    try:
        yield
    except OSError as error:
        raise Fault("not_written", f"{path}: {error.strerror}") from error


def write_reports(directory: Path, reports: Mapping[str, str]) -> None:
    """Write each text under its file name, each whole or not at all.

    Raises:
        Fault: as `writing`.
    """
    for name, text in reports.items():
        with writing(directory / name):
            write_atomic(directory / name, text.encode())


@contextmanager
def _usable(option: str, path: Path) -> Iterator[None]:
    """Names can be so wrong that the system does not even look, such as a prompt given as a file name."""
    try:
        yield
    except OSError as error:
        raise BadInput(option, "", str(path), f"cannot be used: {error.strerror}; choose another") from error
