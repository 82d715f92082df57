"""An evaluation as one HTML file that needs nothing but itself: tables, curves, worst and best cases."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from alfa.evaluation.datasets import LabelledImage
from alfa.evaluation.pictures import case_jpeg, curves_png
from alfa.evaluation.protocol import METRICS, ClassResult, Row, Shown
from alfa.evaluation.report import HEADINGS, Evaluation, figure_text
from alfa.evaluation.store import ResultStore

_CASES = 4
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left }
img { max-width: 100% }
figure { display: inline-block; margin: .4em .8em .4em 0; vertical-align: top }
figcaption { font-size: 12px; color: #555; max-width: 52em; overflow-wrap: anywhere }
code { overflow-wrap: anywhere }
"""


def as_html(evaluation: Evaluation, store: ResultStore) -> str:
    """The whole report; the store gives the maps of the cases shown.

    Raises:
        BadInput: an image or mask to show cannot be read.
    """
    several = len(evaluation.results) > 1
    body = [
        f"<h1>{escape(evaluation.name)}</h1>",
        _about(evaluation),
        *(
            [f"<h2>Mean over {len(evaluation.results)} classes</h2>", _table(evaluation.mean)]
            if several
            else []
        ),
        *(part for result in evaluation.results for part in _class(evaluation, result, store)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(evaluation.name)}: evaluation</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def _about(evaluation: Evaluation) -> str:
    limited = f", about {evaluation.limit} test images a class" if evaluation.limit else ""
    told = ", ".join(f"{key} = {value}" for key, value in evaluation.settings_told.items())
    return (
        f"<p>Model {escape(evaluation.model_id)}, weights <code>{evaluation.weights_hash}</code>; "
        f"{evaluation.seeds} seeds{limited}.<br>Settings: <code>{escape(told)}</code></p>"
        "<p>All figures in percent, mean ± sample standard deviation over the seeds. PRO up to a "
        "false-positive rate of 0.3. Pixels at the mask's shape with its longest side at 256.</p>"
    )


def _mean(evaluation: Evaluation) -> list[str]:
    number = len(evaluation.results)
    return [f"<h2>Mean over {number} classes</h2>", _table(evaluation.mean)] if number > 1 else []


def _table(rows: Iterable[Row]) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in ("row", "score", *HEADINGS.values()))
    lines = []
    for row in rows:
        cells = (escape(row.name), escape(row.part), *(figure_text(row, metric) for metric in METRICS))
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table><tr>{head}</tr>\n{chr(10).join(lines)}</table>"


def _class(evaluation: Evaluation, result: ClassResult, store: ResultStore) -> list[str]:
    dataset, prompts = result.dataset, evaluation.prompts[result.dataset.name]
    about = (
        f"{dataset.good} good and {dataset.defective} defective images, {result.masks} masks, "
        f"{len(dataset.train)} images to teach from; prompts {prompts.file} ({prompts.content_hash})"
    )
    return [
        f"<h2>{escape(dataset.name)}</h2>",
        f"<p>{escape(about)}</p>",
        _table(result.rows),
        _image("image/png", curves_png(result.curves), f"curves of {dataset.name}"),
        *_cases(result, store),
    ]


def _cases(result: ClassResult, store: ResultStore) -> list[str]:
    """Image, map and mask of the cases that went worst, and of those that went best."""
    low, high = result.shown.map_scale
    parts = [
        f"<p>Cases of <b>{escape(result.shown.variant)}</b>: image, map, mask. The map is clear up to the "
        f"median of good pixels ({low:.3g}); the middle of its colours is their 99th percentile "
        f"({high:.3g}).</p>"
    ]
    for heading, cases in _chosen(result.shown).items():
        figures = "".join(_case(result, store, image, score) for image, score in cases)
        parts.append(f"<h3>{heading}</h3>\n<div>{figures}</div>")
    return parts


def _chosen(shown: Shown) -> dict[str, Sequence[tuple[LabelledImage, float]]]:
    ranked = sorted(shown.scores, key=lambda pair: pair[1])
    good = [pair for pair in ranked if not pair[0].abnormal]
    defective = [pair for pair in ranked if pair[0].abnormal]
    return {
        "Defective, lowest scores (missed first)": defective[:_CASES],
        "Good, highest scores (false alarms first)": good[::-1][:_CASES],
        "Defective, highest scores": defective[::-1][:_CASES],
    }


def _case(result: ClassResult, store: ResultStore, image: LabelledImage, score: float) -> str:
    judged = store.read(result.dataset, image).by[result.shown.variant]
    caption = escape(f"{image.defect}/{image.path.name}: {score:.3f}")
    picture = _image("image/jpeg", case_jpeg(image, judged.patch_map, result.shown.map_scale), caption)
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _image(kind: str, content: bytes, alternative: str) -> str:
    encoded = base64.b64encode(content).decode("ascii")
    return f'<img alt="{escape(alternative)}" src="data:{kind};base64,{encoded}">'
