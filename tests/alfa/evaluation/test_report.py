"""The reports of one evaluation: JSON, CSV, tables, and a page that needs nothing but itself."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from rich.console import Console

from alfa.evaluation.html_report import as_html
from alfa.evaluation.protocol import METRICS
from alfa.evaluation.report import Evaluation, as_csv, as_json, figure_text
from alfa.evaluation.store import ResultStore
from alfa.evaluation.tables import evaluation_tables

# Variants with their parts, then the baselines.
ROWS = [
    *[("zero-shot", part) for part in ("S", "S_G alone", "max S_L alone")],
    *[("2-shot", part) for part in ("S", "S_G alone", "max S_L alone")],
    *[(name, "S") for name in ("mean brightness", "local contrast", "Laplacian energy")],
]


def test_json_holds_every_row_and_what_it_depends_on(evaluation: Evaluation) -> None:
    """As it reads after a round through text."""
    report = json.loads(json.dumps(as_json(evaluation)))
    (plate,) = report["classes"]
    assert (plate["good"], plate["defective"], plate["masks"], plate["train"]) == (4, 4, 3, 4)
    assert plate["prompts"] == "plate.toml"
    assert [(row["row"], row["part"]) for row in plate["rows"]] == ROWS
    assert [row["repeats"] for row in plate["rows"][:4]] == [1, 1, 1, 2]
    assert report["settings"]["temperature"] == evaluation.settings.temperature
    assert "pretrained" not in report["settings"]


def test_a_mean_has_a_deviation_where_there_are_repeats(evaluation: Evaluation) -> None:
    """Two seeds have one, zero-shot has none; S_G has no map."""
    rows = {(row["row"], row["part"]): row for row in as_json(evaluation)["classes"][0]["rows"]}
    assert rows["2-shot", "S"]["pixel_pro_std"] is not None
    assert rows["zero-shot", "S"]["pixel_pro_std"] is None
    assert rows["zero-shot", "S_G alone"]["pixel_pro"] is None


def test_csv_has_a_line_a_row_and_the_mean_last(evaluation: Evaluation) -> None:
    """The mean of one class is that class."""
    lines = list(csv.DictReader(io.StringIO(as_csv(evaluation))))
    assert [(line["class"], line["row"], line["part"]) for line in lines] == [
        (name, *row) for name in ("plate", "mean") for row in ROWS
    ]
    of_class, of_mean = lines[0], lines[len(ROWS)]
    assert all(of_class[metric] == of_mean[metric] for metric in METRICS)


def test_figures_are_percent_with_their_deviation(evaluation: Evaluation) -> None:
    """A dash where there is none."""
    zero_shot, global_alone, _, two_shot, *_ = evaluation.results[0].rows
    assert re.fullmatch(r"\d+\.\d", figure_text(zero_shot, "image_auroc"))
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", figure_text(two_shot, "image_auroc"))
    assert figure_text(global_alone, "pixel_pro") == "-"


def _printed(evaluation: Evaluation) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    for table in evaluation_tables(evaluation):
        console.print(table)
    return console.export_text()


def test_the_table_of_one_class_has_all_rows(evaluation: Evaluation) -> None:
    """With what was judged, and by which prompts."""
    text = _printed(evaluation)
    assert "plate: 4 good, 4 defective, 3 masks; plate.toml" in text
    assert all(name in text for name, _ in ROWS)


def test_of_several_classes_each_row_has_a_table_with_its_mean(evaluation: Evaluation) -> None:
    """Two classes: tables zero-shot and 2-shot, a line a class, and the mean."""
    import dataclasses

    other = dataclasses.replace(
        evaluation.results[0], dataset=dataclasses.replace(evaluation.results[0].dataset, name="second")
    )
    several = dataclasses.replace(
        evaluation,
        results=(*evaluation.results, other),
        prompts={**evaluation.prompts, "second": evaluation.prompts["plate"]},
    )
    text = _printed(several)
    assert "plates: zero-shot" in text
    assert "plates: 2-shot" in text
    assert "plates: mean of 2 classes" in text
    assert text.count("second") == 2


# HTML


class _Page(HTMLParser):
    """Tags left open, sources named, and words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def page(evaluation: Evaluation, store: ResultStore) -> _Page:
    parser = _Page()
    parser.feed(as_html(evaluation, store))
    return parser


def test_the_page_is_whole_and_needs_nothing_else(page: _Page) -> None:
    """Every tag is closed; every picture is in the page itself."""
    assert page.open == []
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)


def test_the_page_shows_curves_and_cases_that_can_be_decoded(page: _Page) -> None:
    """One picture of curves, and four cases each of missed, false alarm and found."""
    pictures = [
        cv2.imdecode(np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        for source in page.sources
    ]
    assert len(pictures) == 1 + 3 * 4
    assert all(picture is not None for picture in pictures)


def test_the_page_names_cases_and_prompts(page: _Page) -> None:
    """By folder and file, with their scores."""
    assert re.search(r"spot/003\.png: \d+\.\d{3}", page.words)
    assert re.search(r"good/000\.png: \d+\.\d{3}", page.words)
    assert "prompts plate.toml" in page.words


def test_names_from_outside_are_only_text(evaluation: Evaluation, store: ResultStore) -> None:
    """A folder called like a tag does not become one."""
    import dataclasses

    named = dataclasses.replace(evaluation, name="<script>alert(1)</script>")
    assert "<script" not in as_html(named, store)
