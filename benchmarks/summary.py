"""Figures of many sets and seeds as means and standard deviations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmarks.comparison import Figures


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over the seeds.

    Attributes:
        mean: over seeds.
        std: sample standard deviation; 0 where there is one seed.
        values: seed by seed.
    """

    mean: float
    std: float
    values: tuple[float, ...]

    @classmethod
    def over(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0, tuple(values))


@dataclass(frozen=True, slots=True)
class Row:
    """One method at one number of shots.

    Attributes:
        method: name.
        shots: how many good images it was taught.
        metrics: metric -> figure over seeds.
    """

    method: str
    shots: int
    metrics: dict[str, Spread]


def over_seeds(figures: Iterable[Figures]) -> list[Row]:
    """One set: the seeds of each method and number of shots together, in the order of first appearance."""
    groups: defaultdict[tuple[str, int], list[Figures]] = defaultdict(list)
    for each in figures:
        groups[each.method, each.shots].append(each)
    return [
        Row(
            method,
            shots,
            {name: Spread.over([each.values[name] for each in group]) for name in group[0].values},
        )
        for (method, shots), group in groups.items()
    ]


def over_sets(sets: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Mean over sets, seed by seed, so that the deviation is that of the mean.

    A metric counts the sets that have it: pixel metrics those with masks.
    """
    groups: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)
    for rows in sets.values():
        for row in rows:
            groups[row.method, row.shots].append(row)
    return [Row(method, shots, _mean_metrics(rows)) for (method, shots), rows in groups.items()]


def _mean_metrics(rows: Sequence[Row]) -> dict[str, Spread]:
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    return {name: _mean([row.metrics[name] for row in rows if name in row.metrics]) for name in names}


def _mean(spreads: Sequence[Spread]) -> Spread:
    by_seed = zip(*(spread.values for spread in spreads), strict=True)
    return Spread.over([fmean(values) for values in by_seed])
