"""Coresets: what they hold, what they cover, and rows that come as a stream."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from alfa.coreset import RowStream, greedy_choice, greedy_coreset


def _unit(*shape: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 200))
def test_a_coreset_holds_rows_of_the_bank_each_once(rows: int, cap: int, seed: int) -> None:
    """min(rows, cap) different rows, none invented."""
    all_rows = _unit(rows, 4, seed=seed)
    coreset = greedy_coreset(all_rows, cap)
    places = torch.cdist(coreset, all_rows).argmin(dim=1)
    assert torch.equal(all_rows[places], coreset)
    assert len(set(places.tolist())) == min(rows, cap)


def test_the_coreset_covers_a_rare_cluster() -> None:
    """Ninety-nine rows in one place and one in another: a coreset of two has both."""
    common = functional.normalize(torch.tensor([1.0, 0.0, 0.0]) + 0.01 * _unit(99, 3, seed=1), dim=1)
    rare = torch.tensor([[0.0, 1.0, 0.0]])
    coreset = greedy_coreset(torch.cat([common, rare]), cap=2)
    assert (coreset @ rare[0]).max() == 1


def test_a_coreset_of_wide_rows_is_chosen_in_a_projection_and_reproducible() -> None:
    """Wider than the projection: same seed, same choice; still as many rows as asked."""
    rows = _unit(50, 200, seed=3)
    first = greedy_coreset(rows, cap=10, seed=1)
    assert torch.equal(first, greedy_coreset(rows, cap=10, seed=1))
    assert first.shape == (10, 200)


def test_the_choice_by_hand() -> None:
    """On a line at 0, 1, 2, 10 and 4: 4 is nearest the mean of 3.4, 10 furthest from it, 0 from both."""
    rows = torch.tensor([[0.0], [1.0], [2.0], [10.0], [4.0]])
    assert greedy_choice(rows, cap=3).tolist() == [4, 3, 0]


def test_equal_rows_are_each_chosen_once() -> None:
    """When all that is left is at distance 0, what was not chosen yet is."""
    rows = torch.tensor([[1.0, 0.0]]).expand(6, 2)
    assert len(set(greedy_choice(rows, cap=5).tolist())) == 5


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 100))
def test_a_stream_that_fits_is_kept_whole_and_in_order(batches: int, size: int, seed: int) -> None:
    """Every row with the part that it is of."""
    stream = RowStream(cap=2, most=54, seed=0)
    every = [_unit(size, 3, seed=seed + batch) for batch in range(batches)]
    for number, batch in enumerate(every):
        stream.add(batch, torch.full((size,), number))
    rows, owners = stream.rows()
    assert torch.equal(rows, torch.cat(every))
    assert owners.tolist() == [number for number in range(batches) for _ in range(size)]


@given(st.integers(1, 8), st.integers(1, 40), st.integers(1, 10), st.integers(0, 100))
def test_a_longer_stream_is_reduced_to_the_cap(cap: int, size: int, room: int, seed: int) -> None:
    """Rows that came, each once, with their own owner, whatever the batches' size."""
    stream = RowStream(cap, most=cap + room, seed=0)
    every = _unit(4 * size + cap + room, 3, seed=seed)
    for start in range(0, len(every), size):
        stream.add(every[start : start + size], torch.arange(start, min(start + size, len(every))))
    rows, owners = stream.rows()
    assert torch.equal(rows, every[owners])
    assert len(set(owners.tolist())) == len(owners) == cap


def test_a_stream_holds_no_more_than_it_may() -> None:
    """After each of a hundred batches; it is what makes memory constant."""
    stream = RowStream(cap=10, most=50, seed=0)
    for number in range(100):
        stream.add(_unit(16, 3, seed=number), torch.full((16,), number))
        assert stream.held <= 50


def test_a_rare_cluster_early_in_a_stream_is_still_there_at_its_end() -> None:
    """One row of another kind, then a thousand alike in ten reductions."""
    rare = torch.tensor([[0.0, 1.0, 0.0]])
    stream = RowStream(cap=4, most=100, seed=0)
    stream.add(rare, torch.tensor([0]))
    for number in range(10):
        common = functional.normalize(
            torch.tensor([1.0, 0.0, 0.0]) + 0.01 * _unit(100, 3, seed=number), dim=1
        )
        stream.add(common, torch.full((100,), number + 1))
    rows, _ = stream.rows()
    assert (rows @ rare[0]).max() == 1


def _one_by_one(rows: Tensor, cap: int) -> list[int]:
    """Greedy k-centre as it is defined, in float64: every distance to every chosen row, at every step."""
    points = rows.double()
    chosen = [int((points - points.mean(dim=0)).square().sum(dim=1).argmin())]
    while len(chosen) < cap:
        chosen.append(int(torch.cdist(points, points[chosen]).amin(dim=1).argmax()))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_looking_at_all_rows_at_every_step(seed: int) -> None:
    """More rows than are looked at together, and more chosen than are compared at once."""
    rows = torch.rand(1500, 3, generator=torch.Generator().manual_seed(seed))
    ours, theirs = greedy_choice(rows, cap=80).tolist(), _one_by_one(rows, cap=80)
    # Two rows as good as equally far may change places by rounding.
    assert len(set(ours) & set(theirs)) >= 78
    assert ours[:10] == theirs[:10]
