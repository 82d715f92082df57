"""Which images a command takes, and their way through it: in batches, with progress on stderr."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alfa.errors import BadInput
from alfa.images import list_images, read_image

# Windows go through the tower in batches of their own; this only bounds the pictures held at once.
_IMAGES_AT_ONCE = 8

Item = TypeVar("Item")


def select_images(
    directory: Path, skip: int = 0, limit: int | None = None, seed: int | None = None
) -> list[Path]:
    """Images of a directory, by name or shuffled by `seed`, without the first `skip`, at most `limit`.

    With the same seed, the first N and those after `skip` N are disjoint: one set to teach, one to calibrate.

    Raises:
        BadInput: the directory is missing or holds no image beyond those skipped.
    """
    paths = list_images(directory)
    if seed is not None:
        random.Random(seed).shuffle(paths)  # noqa: S311 - reproducible choice, not a secret
    chosen = paths[skip:] if limit is None else paths[skip : skip + limit]
    if not chosen:
        raise BadInput(
            "--skip", "", skip, f"leaves none of the {len(paths)} images in {directory}; skip fewer"
        )
    return chosen


def image_batches(paths: list[Path], doing: str) -> Iterator[tuple[list[Path], list[NDArray[np.uint8]]]]:
    """Read the images batch by batch, showing how far the work is.

    Raises:
        BadInput: an image cannot be read.
    """
    with _progress() as progress:
        task = progress.add_task(doing, total=len(paths))
        for start in range(0, len(paths), _IMAGES_AT_ONCE):
            batch = paths[start : start + _IMAGES_AT_ONCE]
            yield batch, [read_image(path) for path in batch]
            progress.advance(task, len(batch))


def tracked(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """Hand the items through, showing how far the work is."""
    with _progress() as progress:
        yield from progress.track(items, description=doing)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Off a terminal nothing is drawn but an empty line.
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
