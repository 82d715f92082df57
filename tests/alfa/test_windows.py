"""Windows, harmonic aggregation and pixels, against loops a reader can check."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from alfa.errors import BadInput
from alfa.windows import Grid, harmonic_aggregate, harmonic_mean_levels, to_pixels, window_layout

_grids = st.builds(Grid, st.integers(3, 7), st.integers(3, 7))
_scales = st.integers(1, 3)


def _scores(batch: int, grid: Grid, scale: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, window_layout(grid, scale).windows, generator=generator) * 0.98 + 0.01


def _naive_harmonic(scores: Tensor, grid: Grid, scale: int) -> Tensor:
    """The definition: for each patch, count / sum of reciprocals over the windows that hold it."""
    batch = scores.shape[0]
    values = scores.tolist()
    result = torch.zeros(batch, grid.rows, grid.cols, dtype=torch.float64)
    columns = grid.cols - scale + 1
    for image in range(batch):
        for row in range(grid.rows):
            for col in range(grid.cols):
                reciprocals = [
                    1 / values[image][top * columns + left]
                    for top in range(grid.rows - scale + 1)
                    for left in range(columns)
                    if top <= row < top + scale and left <= col < left + scale
                ]
                result[image, row, col] = len(reciprocals) / sum(reciprocals)
    return result.view(batch, -1).float()


def test_windows_of_a_small_grid_are_listed_row_by_row() -> None:
    """A 2x3 grid has two windows of scale 2, written out by hand."""
    layout = window_layout(Grid(2, 3), 2)
    assert layout.indices.tolist() == [[0, 1, 3, 4], [1, 2, 4, 5]]
    assert layout.coverage.T.tolist() == [[1, 1, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1]]


def test_windows_side_by_side_end_with_the_grid() -> None:
    """Of 2x5 patches in pairs of columns the last window overlaps, so that the fifth column is covered."""
    layout = window_layout(Grid(2, 5), 2, step=2)
    assert layout.indices.tolist() == [[0, 1, 5, 6], [2, 3, 7, 8], [3, 4, 8, 9]]


@given(_grids, _scales)
def test_windows_side_by_side_are_some_of_all_and_cover_every_patch(grid: Grid, scale: int) -> None:
    """About a scale squared times fewer, each of them a window of the exact mode too."""
    apart, every = window_layout(grid, scale, step=scale), window_layout(grid, scale)
    assert {tuple(row) for row in apart.indices.tolist()} <= {tuple(row) for row in every.indices.tolist()}
    assert apart.windows == -(-grid.rows // scale) * -(-grid.cols // scale)
    assert torch.all(apart.coverage.sum(dim=1) >= 1)


def test_scale_one_is_the_patches_themselves() -> None:
    """Windows of one patch cover exactly that patch."""
    assert torch.equal(window_layout(Grid(3, 4), 1).coverage, torch.eye(12))


def test_layout_is_computed_once() -> None:
    """The same grid and scale give the same object again."""
    assert window_layout(Grid(5, 4), 2) is window_layout(Grid(5, 4), 2)


def test_layout_first_made_in_inference_mode_serves_training_too() -> None:
    """Cached tensors are ordinary tensors, whoever asked first."""
    with torch.inference_mode():
        layout = window_layout(Grid(9, 8), 2)
    assert not layout.coverage.is_inference()


@pytest.mark.parametrize("scale", [0, 4])
def test_a_window_that_does_not_fit_is_refused(scale: int) -> None:
    """The error names the setting and the grid."""
    with pytest.raises(BadInput, match=r"scales = .*3x5 patches"):
        window_layout(Grid(3, 5), scale)


@given(_grids, _scales)
def test_every_window_holds_scale_squared_patches_and_every_patch_is_covered(grid: Grid, scale: int) -> None:
    """Column sums of the coverage are s*s, row sums are at least one."""
    layout = window_layout(grid, scale)
    assert layout.windows == (grid.rows - scale + 1) * (grid.cols - scale + 1)
    assert torch.all(layout.coverage.sum(dim=0) == scale * scale)
    assert torch.all(layout.coverage.sum(dim=1) >= 1)


@given(_grids, _scales, st.integers(0, 1000))
def test_harmonic_aggregation_equals_the_naive_loop(grid: Grid, scale: int, seed: int) -> None:
    """The matrix form gives what the definition gives."""
    scores = _scores(2, grid, scale, seed)
    aggregated = harmonic_aggregate(scores, window_layout(grid, scale))
    torch.testing.assert_close(aggregated, _naive_harmonic(scores, grid, scale), rtol=1e-5, atol=1e-6)


def test_harmonic_mean_by_hand() -> None:
    """On a 1x3 strip of 1x1 windows nothing changes; two levels 1/2 and 1/4 average to 1/3."""
    assert harmonic_aggregate(torch.tensor([[0.5, 0.25, 1.0]]), window_layout(Grid(1, 3), 1)).tolist() == [
        [0.5, 0.25, 1.0]
    ]
    levels = harmonic_mean_levels([torch.tensor([[0.5]]), torch.tensor([[0.25]])])
    torch.testing.assert_close(levels, torch.tensor([[1 / 3]]))


@given(_grids, _scales, st.integers(0, 1000))
def test_harmonic_mean_lies_between_the_smallest_and_the_largest_score(
    grid: Grid, scale: int, seed: int
) -> None:
    """A mean never leaves the range of what it averages."""
    scores = _scores(1, grid, scale, seed)
    aggregated = harmonic_aggregate(scores, window_layout(grid, scale))
    assert aggregated.min() >= scores.min() * (1 - 1e-5)
    assert aggregated.max() <= scores.max() * (1 + 1e-5)


def test_a_window_of_score_zero_pulls_its_patches_to_zero_and_no_others() -> None:
    """1/0 must not become a NaN anywhere."""
    layout = window_layout(Grid(2, 4), 2)
    aggregated = harmonic_aggregate(torch.tensor([[0.0, 0.5, 0.5]]), layout)[0].view(2, 4)
    assert torch.all(aggregated[:, :2] < 1e-20)
    torch.testing.assert_close(aggregated[:, 2:], torch.full((2, 2), 0.5))


def test_pixels_keep_patch_order_and_the_asked_size() -> None:
    """Rows stay rows on a grid that is not square, and a 1:1 size changes nothing."""
    patch_map = torch.arange(6.0).view(1, 6)
    assert torch.equal(to_pixels(patch_map, Grid(2, 3), (2, 3)), patch_map.view(1, 2, 3))
    assert to_pixels(patch_map, Grid(2, 3), (28, 42)).shape == (1, 28, 42)


def test_pixels_are_interpolated_bilinearly() -> None:
    """Between two patch centres the map goes straight: 0, 1/4, 3/4, 1 on a doubled axis."""
    pixels = to_pixels(torch.tensor([[0.0, 1.0]]), Grid(1, 2), (1, 4))
    torch.testing.assert_close(pixels, torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))
