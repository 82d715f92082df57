"""From what the forms made of every image to figures with intervals, per set and as the mean over sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alfa.evaluation.bootstrap import Draws, Interval, Values, image_auroc, pixel_auroc
from tools.compare_forms.judging import Form, Judged

IMAGE, LOCAL, PIXEL = "image AUROC", "max S_L alone", "pixel AUROC"
METRICS = (IMAGE, LOCAL, PIXEL)


@dataclass(frozen=True, slots=True)
class Figure:
    """One form by one metric, on a set or as a mean over sets; in percent.

    Attributes:
        itself: with its interval.
        difference: to the group's first form on the same images.
    """

    itself: Interval
    difference: Interval


@dataclass(frozen=True, slots=True, eq=False)
class SetDraws:
    """The figures of one set: of each form and metric, the set's own value and that of every draw."""

    values: Mapping[tuple[Form, str], tuple[float, Values]]


def draw(judged: Mapping[Form, Judged], good: int, draws: int, seed: int) -> SetDraws:
    """All forms of one set on the same draws.

    Args:
        judged: by form, good images first.
        good: how many are good.
        draws: number of draws.
        seed: of the draws.
    """
    count = len(next(iter(judged.values())).image)
    drawn, own = Draws.of(good, count - good, draws, seed), Draws.itself(good, count - good)
    values = {}
    for form, each in judged.items():
        for metric, scores in ((IMAGE, each.image), (LOCAL, each.local)):
            values[form, metric] = (
                100 * image_auroc(scores[:good], scores[good:], own).item(),
                100 * image_auroc(scores[:good], scores[good:], drawn),
            )
        if each.pixels is not None:
            occurring = each.pixels.any(axis=(0, 1))
            seen = each.pixels[:, :, occurring]
            values[form, PIXEL] = (
                100 * pixel_auroc(seen, own).item(),
                100 * pixel_auroc(seen, drawn),
            )
    return SetDraws(values)


def mean_figures(sets: Sequence[SetDraws], compared: Sequence[Form]) -> dict[tuple[Form, str], Figure]:
    """Means over the sets that know the metric; every set is resampled for itself."""
    found = {}
    for form in compared:
        first = next(other for other in compared if other.group == form.group)
        for metric in METRICS:
            known = [each.values for each in sets if (form, metric) in each.values]
            if known:
                found[form, metric] = _figure(known, form, first, metric)
    return found


def _figure(
    known: Sequence[Mapping[tuple[Form, str], tuple[float, Values]]], form: Form, first: Form, metric: str
) -> Figure:
    value = float(np.mean([each[form, metric][0] for each in known]))
    draws = np.mean([each[form, metric][1] for each in known], axis=0)
    base = float(np.mean([each[first, metric][0] for each in known]))
    base_draws = np.mean([each[first, metric][1] for each in known], axis=0)
    return Figure(Interval.of(value, draws), Interval.of(value - base, draws - base_draws))
