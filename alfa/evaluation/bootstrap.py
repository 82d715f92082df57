"""How sure a difference between two ways of scoring is: paired, stratified bootstrap over images.

The same images are drawn for all ways that are compared, so that what is common to them cancels out of the
difference; good and defective ones are drawn apart, so that every draw has as many of each as the set.
Draws are counts of how often each image was taken, and a whole run is a few matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Counts = NDArray[np.int64]

_LEVEL = 0.95
# Bounds the counts held at once, whatever the number of draws.
_DRAWS_AT_ONCE = 100


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """How often each image is in each draw.

    Attributes:
        good: (D, good images).
        defective: (D, defective images).
    """

    good: Counts
    defective: Counts

    @classmethod
    def of(cls, good: int, defective: int, draws: int, seed: int) -> Draws:
        """As many images as there are, with replacement, of each kind.

        Raises:
            ValueError: there is no image of a kind.
        """
        if min(good, defective) < 1:
            raise ValueError("both good and defective images are needed")
        rng = np.random.default_rng(seed)
        return cls(*(rng.multinomial(n, np.full(n, 1 / n), size=draws) for n in (good, defective)))

    @classmethod
    def itself(cls, good: int, defective: int) -> Draws:
        """The one draw that takes every image once: the set's own figure."""
        return cls(np.ones((1, good), np.int64), np.ones((1, defective), np.int64))


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % percentile interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Values) -> Interval:
        """From the figure itself and that of every draw."""
        low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        return cls(value, float(low), float(high))

    @property
    def is_certain(self) -> bool:
        """Whether 0 lies outside: for a difference, whether its sign is sure."""
        return self.low > 0 or self.high < 0


def image_auroc(good: Values, defective: Values, draws: Draws) -> Values:
    """AUROC over images of each draw, ties counted half.

    Args:
        good: (n,) scores of the good images.
        defective: (m,) scores of the defective ones.
        draws: over n and m images.

    Returns:
        (D,).
    """
    wins = (defective[:, None] > good) + 0.5 * (defective[:, None] == good)
    total = draws.good.sum(axis=1) * draws.defective.sum(axis=1)
    won: Values = np.einsum("dm,mn,dn->d", draws.defective, wins, draws.good, optimize=True) / total
    return won


def pixel_auroc(histograms: Counts, draws: Draws) -> Values:
    """AUROC over pixels of each draw, ties counted half.

    Args:
        histograms: (n + m, 2, V): of each image, good ones first, how many good (0) and how many defective
            pixels (1) have each of the V values, in rising order.
        draws: over n and m images.

    Returns:
        (D,); not a number in a draw without a defective pixel.
    """
    flat = histograms.reshape(len(histograms), -1).astype(np.float64)
    weights = np.concatenate([draws.good, draws.defective], axis=1).astype(np.float64)
    parts = np.array_split(weights, max(1, len(weights) // _DRAWS_AT_ONCE))
    found = [_auroc((part @ flat).reshape(len(part), *histograms.shape[1:])) for part in parts]
    return np.concatenate(found)


def _auroc(counts: Values) -> Values:
    """(D, 2, V) good and defective pixels a value -> (D,)."""
    good, defective = counts[:, 0], counts[:, 1]
    below = np.cumsum(good, axis=1) - good / 2
    total = good.sum(axis=1) * defective.sum(axis=1)
    with np.errstate(invalid="ignore"):
        auroc: Values = (below * defective).sum(axis=1) / total
    return auroc
