"""The comparison as Markdown tables, as they stand in docs/method.md, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tools.compare_forms.figures import METRICS, Figure
from tools.compare_forms.judging import CONTEXTUAL, Form

Figures = Mapping[tuple[Form, str], Figure]


@dataclass(frozen=True, slots=True)
class Kept:
    """What a way of choosing prompts left, as a mean over images.

    Attributes:
        normal: part of the normal prompts kept.
        abnormal: part of the abnormal prompts kept.
        emptied: part of the images for which a side would have been empty and kept all.
    """

    normal: float
    abnormal: float
    emptied: float


@dataclass(frozen=True, slots=True, eq=False)
class SetResult:
    """One set, or the mean over some.

    Attributes:
        name: of the set, or which mean.
        images: good and defective images.
        figures: by form and metric.
        kept: by form of the contextual group.
    """

    name: str
    images: tuple[int, int]
    figures: Figures
    kept: Mapping[Form, Kept]


def as_markdown(means: Sequence[SetResult], sets: Sequence[SetResult], compared: Sequence[Form]) -> str:
    """Per group: the means with intervals; the sets one by one; for prompts, how many were kept."""
    groups = list(dict.fromkeys(form.group for form in compared))
    parts = []
    for group in groups:
        members = [form for form in compared if form.group == group]
        parts += [_mean_table(mean, members) for mean in means]
        parts += [_set_table(sets, members, metric) for metric in METRICS]
    return "\n\n".join(parts) + "\n"


def as_json(means: Sequence[SetResult], sets: Sequence[SetResult]) -> dict[str, Any]:
    """All figures, for `json.dumps`."""
    return {"means": [_set_json(each) for each in means], "sets": [_set_json(each) for each in sets]}


def _mean_table(mean: SetResult, members: Sequence[Form]) -> str:
    contextual = members[0].group == CONTEXTUAL
    known = [metric for metric in METRICS if (members[0], metric) in mean.figures]
    columns = [column for metric in known for column in (metric, f"to {members[0].name}")]
    kept = ["kept normal", "kept abnormal", "side emptied"] if contextual else []
    lines = [f"**{members[0].group}, {mean.name}**", "", _row(["form", *columns, *kept])]
    lines.append(_row(["---", *["---:"] * (len(columns) + len(kept))]))
    for form in members:
        cells = [cell for metric in known for cell in _cells(mean.figures[form, metric], form is members[0])]
        lines.append(_row([form.name, *cells, *(_kept_cells(mean.kept[form]) if contextual else [])]))
    return "\n".join(lines)


def _set_table(sets: Sequence[SetResult], members: Sequence[Form], metric: str) -> str:
    known = [each for each in sets if (members[0], metric) in each.figures]
    lines = [f"**{members[0].group}, {metric}**", "", _row(["form", *(each.name for each in known)])]
    lines.append(_row(["---", *["---:"] * len(known)]))
    lines += [
        _row([form.name, *(f"{each.figures[form, metric].itself.value:.1f}" for each in known)])
        for form in members
    ]
    return "\n".join(lines)


def _cells(figure: Figure, is_first: bool) -> tuple[str, str]:
    difference = figure.difference
    told = f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
    return f"{figure.itself.value:.1f}", "" if is_first else told


def _kept_cells(kept: Kept) -> list[str]:
    return [f"{100 * part:.0f} %" for part in (kept.normal, kept.abnormal, kept.emptied)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _set_json(result: SetResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "good": result.images[0],
        "defective": result.images[1],
        "figures": [
            {"group": form.group, "form": form.name, "metric": metric, **asdict(figure)}
            for (form, metric), figure in result.figures.items()
        ],
        "kept": {form.name: asdict(kept) for form, kept in result.kept.items()},
    }
