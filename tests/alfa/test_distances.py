"""Distances to the nearest row against brute force."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.distances import nearest_distance


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(0, 500))
def test_nearest_distance_equals_brute_force(batch: int, queries: int, rows: int, seed: int) -> None:
    """(1 - cos) / 2 to every row, then the smallest."""
    q, r = _unit(batch, queries, 5, seed=seed), _unit(rows, 5, seed=seed + 1)
    expected = ((1 - functional.cosine_similarity(q[:, :, None], r, dim=-1)) / 2).amin(dim=2)
    torch.testing.assert_close(nearest_distance(q, r), expected, rtol=1e-4, atol=1e-6)


def test_many_rows_are_searched_in_chunks_with_the_same_result() -> None:
    """4000 queries against 6000 rows exceed one chunk, and the last chunk is a smaller one."""
    q, r = _unit(1, 4000, 4, seed=1), _unit(6000, 4, seed=2)
    expected = (1 - (q[0] @ r.T).amax(dim=1)) / 2
    torch.testing.assert_close(nearest_distance(q, r)[0], expected.clamp(0, 1), rtol=1e-4, atol=1e-6)


def test_distances_by_hand() -> None:
    """The same direction is 0 apart, a right angle 1/2, the opposite 1."""
    queries = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]])
    assert nearest_distance(queries, torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 0.5, 1.0]]
