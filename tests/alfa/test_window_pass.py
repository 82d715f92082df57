"""Every window of every scale and image goes through the tower once, with its own tokens."""

from __future__ import annotations

from itertools import chain

import torch
from hypothesis import given
from hypothesis import strategies as st

from alfa.window_pass import WindowBatch, window_batches
from alfa.windows import Grid, WindowLayout, window_layout


def _layouts(grid: Grid, *scales: int) -> tuple[WindowLayout, ...]:
    return tuple(window_layout(grid, scale) for scale in scales)


def test_windows_of_two_scales_lie_behind_each_other() -> None:
    """A 2 x 3 grid with a class token: six single patches of 2 tokens, two windows of 5 tokens."""
    (batch,) = window_batches(_layouts(Grid(2, 3), 1, 2), 1, 1, 1000)
    assert batch.levels == (0, 1)
    assert [tuple(run) for run in batch.packing] == [(6, 2), (2, 5)]
    assert batch.source[:4].tolist() == [0, 1, 0, 2]
    assert batch.source[12:].tolist() == [0, 1, 2, 4, 5, 0, 2, 3, 5, 6]
    assert batch.first.tolist() == [0, 2, 4, 6, 8, 10, 12, 17]


def test_the_second_image_begins_behind_the_first() -> None:
    """Two images of 2 x 2 patches without class token: rows 0-3 and 4-7."""
    (batch,) = window_batches(_layouts(Grid(2, 2), 2), 0, 2, 1000)
    assert batch.source.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


@given(
    rows=st.integers(3, 7),
    cols=st.integers(3, 7),
    prefix=st.integers(0, 5),
    images=st.integers(1, 3),
    at_once=st.integers(1, 2000),
)
def test_however_passes_are_cut_every_window_comes_once_and_in_order(
    rows: int, cols: int, prefix: int, images: int, at_once: int
) -> None:
    """Split over passes, a scale's windows are those of one pass, in its order."""
    layouts = _layouts(Grid(rows, cols), 2, 3)
    whole = window_batches(layouts, prefix, images, 1 << 30)
    split = window_batches(layouts, prefix, images, at_once)
    for level in range(2):
        parts, expected = (
            torch.cat([batch.source[begin:end] for batch in batches for begin, end in [_rows(batch, level)]])
            for batches in (split, whole)
        )
        assert torch.equal(parts, expected)


@given(images=st.integers(1, 3), at_once=st.integers(20, 500))
def test_passes_are_of_about_equal_size(images: int, at_once: int) -> None:
    """No pass is longer than asked for by more than a window of each scale, and none is a small rest."""
    sizes = [len(batch.source) for batch in window_batches(_layouts(Grid(6, 6), 2, 3), 1, images, at_once)]
    assert max(sizes) <= at_once + 5 + 10
    assert max(sizes) - min(sizes) <= 2 * (5 + 10)


@given(at_once=st.integers(1, 500))
def test_a_windows_first_row_is_the_class_token_of_its_image(at_once: int) -> None:
    """Row 0 or 17 of two images of 16 patches and a class token."""
    batches = window_batches(_layouts(Grid(4, 4), 2, 3), 1, 2, at_once)
    firsts = list(chain.from_iterable(batch.source[batch.first].tolist() for batch in batches))
    assert sorted(firsts) == [0] * (9 + 4) + [17] * (9 + 4)


def _rows(batch: WindowBatch, level: int) -> tuple[int, int]:
    """Where the windows of a scale lie in a pass; nowhere is (0, 0)."""
    begin = 0
    for of_run, run in zip(batch.levels, batch.packing, strict=True):
        if of_run == level:
            return begin, begin + run.rows
        begin += run.rows
    return 0, 0
