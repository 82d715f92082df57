"""Few rows that stand for many: greedy selection, and a stream of rows of which few are held."""

from __future__ import annotations

import torch
from torch import Tensor

# Greedy selection compares all rows once per row chosen; distances survive a random projection this wide.
_DIMENSIONS = 64
# Points among which the furthest are looked for until others might be further: they fit into a core's cache,
# where all points do not.
_POOL = 1024
# Bounds the matrix of distances that is held at once.
_CHOSEN_AT_ONCE = 64


class RowStream:
    """Rows that come in batches, of which at most `most` are held, whatever comes.

    Nothing is left out until more rows have come than are held. From then on the rows held are reduced to the
    cap whenever they are full, so a row left out early was near a row that may itself be left out later: the
    greatest distance to a kept row can be greater than that of one selection over all.

    Attributes:
        held: how many rows are held now.
    """

    def __init__(self, cap: int, most: int, seed: int) -> None:
        """A stream without rows yet.

        Args:
            cap: most rows to keep when there are too many.
            most: rows to hold, more than `cap`: the more, the less often rows are read for a selection.
            seed: of the random projection in which distances are compared.
        """
        self.held = 0
        self._cap = cap
        self._most = most
        self._seed = seed
        self._complete = True
        # One block each for all its life: batches kept as they come would leave the heap full of holes.
        self._rows = torch.empty(0)
        self._owners = torch.empty(0)

    def add(self, rows: Tensor, owners: Tensor) -> None:
        """Take (n, dim) rows, and (n,) int64 numbers of the parts that they are of."""
        if not len(self._rows):
            self._rows = rows.new_empty(self._most, rows.shape[1])
            self._owners = owners.new_empty(self._most)
        while len(rows):
            if self.held == self._most:
                self._reduce()
            end = min(self._most, self.held + len(rows))
            taken = end - self.held
            self._rows[self.held : end] = rows[:taken]
            self._owners[self.held : end] = owners[:taken]
            rows, owners, self.held = rows[taken:], owners[taken:], end

    def rows(self) -> tuple[Tensor, Tensor]:
        """(m, dim) rows and (m,) their owners: all that came, or a coreset of at most `cap`."""
        if not self._complete:
            self._reduce()
        return self._rows[: self.held], self._owners[: self.held]

    def _reduce(self) -> None:
        chosen = greedy_choice(self._rows[: self.held], self._cap, self._seed)
        for kept in (self._rows, self._owners):
            kept[: len(chosen)] = kept[chosen]
        self.held = len(chosen)
        self._complete = False


def greedy_coreset(rows: Tensor, cap: int, seed: int = 0) -> Tensor:
    """At most `cap` of the rows, so chosen that every row left out is near a kept one.

    Args:
        rows: (M, dim).
        cap: most rows to keep.
        seed: of the random projection in which distances are compared.
    """
    return rows if len(rows) <= cap else rows[greedy_choice(rows, cap, seed)]


def greedy_choice(rows: Tensor, cap: int, seed: int = 0) -> Tensor:
    """Which rows a coreset keeps (k-centre, greedy), (min(M, cap),) int64 on the rows' device.

    The first is the row nearest the mean, then always the one furthest from all chosen so far. Sequential
    by nature; it runs when a bank is taught, never when a part is judged.

    Args:
        rows: (M, dim).
        cap: most rows to keep.
        seed: of the random projection in which distances are compared.
    """
    if len(rows) <= cap:
        return torch.arange(len(rows), device=rows.device)
    points = _projected(rows.float(), seed)
    distance = points.new_full((len(points),), torch.inf)
    chosen = (points - points.mean(dim=0)).square().sum(dim=1).argmin()[None]
    fresh = chosen
    while len(chosen) < cap:
        _bring_nearer(distance, points, fresh)
        pool = distance.topk(min(_POOL, len(points))).indices
        fresh = pool[_certainly_furthest(points[pool], distance[pool], cap - len(chosen))]
        chosen = torch.cat([chosen, fresh])
    return chosen


def _bring_nearer(distance: Tensor, points: Tensor, fresh: Tensor) -> None:
    """Lower the squared distances to the nearest chosen point by those to freshly chosen ones, in place."""
    norms = points.square().sum(dim=1)
    for some in torch.split(fresh, _CHOSEN_AT_ONCE):
        squared = torch.addmm(norms[some], points, points[some].T, alpha=-2).amin(dim=1).add_(norms)
        torch.minimum(distance, squared, out=distance)
    # Its own distance is only nearly 0 by that sum, and equal rows are all at 0: none is chosen twice.
    distance[fresh] = -torch.inf


def _certainly_furthest(points: Tensor, distance: Tensor, most: int) -> Tensor:
    """Which of a pool are the furthest of all, one after the other, (at least 1 and at most `most`,).

    Distances only fall, so nothing outside can be further than the pool's nearest is now: as long as its
    furthest is above that, no other point need be looked at.

    Args:
        points: (m, dim), those furthest from what is chosen already.
        distance: (m,), their squared distances to it.
        most: how many are wanted.
    """
    norms = points.square().sum(dim=1)
    outside = float(distance.amin())
    places: list[Tensor] = []
    furthest = distance.argmax()
    while len(places) < most and (not places or float(distance[furthest]) >= outside):
        places.append(furthest)
        # |p - c|^2 = |p|^2 - 2 p.c + |c|^2 reads every point once and writes no differences.
        squared = torch.addmv(norms, points, points[furthest], alpha=-2).add_(norms[furthest])
        torch.minimum(distance, squared, out=distance)
        distance[furthest] = -torch.inf
        furthest = distance.argmax()
    return torch.stack(places)


def _projected(rows: Tensor, seed: int) -> Tensor:
    dimensions = rows.shape[1]
    if dimensions <= _DIMENSIONS:
        return rows
    generator = torch.Generator().manual_seed(seed)
    projection = torch.randn(dimensions, _DIMENSIONS, generator=generator)
    return torch.mm(rows, (projection / _DIMENSIONS**0.5).to(rows.device))
