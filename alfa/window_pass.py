"""Which windows go through the tower together: packed rows of all scales and images of a batch (Sec. 4.3).

Windows of 2 x 2 and of 3 x 3 patches are sequences of 5 and of 10 tokens. They go through the tower side by
side, as rows of one matrix (`alfa.blocks`), in passes of about equal size: few on a GPU, whose launches cost,
and such on a CPU that a block's rows stay in its cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from alfa.blocks import Run
from alfa.windows import WindowLayout


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """The windows of one pass.

    Attributes:
        levels: index of the scale of each run of windows.
        packing: the runs.
        source: (m,), for each packed row where it lies among the B * T embedded tokens of the images.
        first: (n,), the packed rows that are a window's first token.
    """

    levels: tuple[int, ...]
    packing: tuple[Run, ...]
    source: Tensor
    first: Tensor


@lru_cache(maxsize=64)
def window_batches(
    layouts: tuple[WindowLayout, ...], prefix: int, images: int, tokens_at_once: int
) -> tuple[WindowBatch, ...]:
    """All windows of a batch, scale by scale, image by image, row by row; cached, never write into it.

    Args:
        layouts: the windows of each scale, of one grid and device.
        prefix: tokens in front of an image's patch tokens; every window gets them.
        images: B.
        tokens_at_once: about how many rows a pass may have; at least one window goes through.
    """
    # The first caller may be in inference mode; the cached tensors must serve every other as well.
    with torch.inference_mode(mode=False):
        rows = [_window_rows(layout, prefix, images) for layout in layouts]
        runs = [Run(*of_scale.shape) for of_scale in rows]
        return tuple(_batch(rows, part) for part in _passes(runs, tokens_at_once))


def _window_rows(layout: WindowLayout, prefix: int, images: int) -> Tensor:
    """(B * N, prefix + s*s): the rows of each window in the images' tokens."""
    patches = layout.indices + prefix
    device = patches.device
    in_image = torch.cat([torch.arange(prefix, device=device).expand(len(patches), -1), patches], dim=1)
    begins = torch.arange(images, device=device)[:, None, None] * (prefix + layout.grid.patches)
    return (begins + in_image).flatten(0, 1)


def _passes(runs: Sequence[Run], tokens_at_once: int) -> Iterator[list[range]]:
    """The sequences of each run that go into each pass.

    Passes of equal size: the last one would else be a few tokens that cost as much as many.
    """
    total = sum(run.rows for run in runs)
    passes = -(-total // tokens_at_once)
    for number in range(passes):
        part, begin = [], 0
        for run in runs:
            # Sequences that begin in this pass's share of all tokens; in whole numbers, so that none is lost.
            start, stop = (
                min(run.sequences, max(0, -(-(bound * total - passes * begin) // (passes * run.length))))
                for bound in (number, number + 1)
            )
            part.append(range(start, stop))
            begin += run.rows
        if any(part):
            yield part


def _batch(rows: Sequence[Tensor], part: Sequence[range]) -> WindowBatch:
    chosen = {
        level: rows[level][sequences.start : sequences.stop]
        for level, sequences in enumerate(part)
        if sequences
    }
    packing = tuple(Run(*windows.shape) for windows in chosen.values())
    lengths = torch.cat([torch.full((run.sequences,), run.length) for run in packing])
    source = torch.cat([windows.flatten() for windows in chosen.values()])
    first = functional.pad(lengths.cumsum(0)[:-1], (1, 0)).to(source.device)
    return WindowBatch(tuple(chosen), packing, source, first)
