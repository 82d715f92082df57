"""docs/operations.md, the alert rules and the dashboard name what the code has, all and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge.camera.condition import TROUBLES
from edge.messages import FaultCode, FaultReason, fault_code
from edge.metrics import METRICS

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((DOCS / "grafana" / "alfa-line.json").read_text(encoding="utf-8"))
ALERTS = (DOCS / "alerts.yml").read_text(encoding="utf-8")
# Of Prometheus itself and of the client library.
LABELS_OF_PROMETHEUS = {"instance", "job", "le"}
SAMPLES = {name: metric for metric in METRICS for name in metric.sample_names()}


def section(title: str) -> str:
    """The text below a heading."""
    return OPERATIONS.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[tuple[str, ...]]:
    """The rows of a section's table, without head; names without their quotes."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    cells = (re.split(r"(?<!\\)\|", line.strip("| ")) for line in lines[1:])
    return [tuple(cell.strip().strip("`") for cell in row) for row in cells]


def queries() -> list[str]:
    """Every expression of rules and dashboard."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*panels, *re.findall(r"expr: (?:>\n)?((?:.+\n)(?:          .+\n)*)", ALERTS)]


def test_every_reason_of_a_part_is_explained() -> None:
    """By name and the number that the PLC shows, in the order of the numbers."""
    documented = [row[:2] for row in rows("Parts that were not judged")]
    assert documented == [
        (str(reason), str(int(fault_code(reason))))
        for reason in FaultReason
        if reason is not FaultReason.NONE
    ]


def test_every_loss_is_explained() -> None:
    """Codes from 100."""
    documented = [row[:2] for row in rows("Losses on the line")]
    assert documented == [(code.name.lower(), str(int(code))) for code in FaultCode if code >= 100]


def test_every_trouble_of_a_camera_is_explained() -> None:
    """As the beat and the log name it."""
    assert [row[0] for row in rows("Troubles of a camera")] == list(TROUBLES)


@pytest.mark.parametrize(
    "title", ["Parts that were not judged", "Losses on the line", "Troubles of a camera"]
)
def test_every_row_says_what_to_do(title: str) -> None:
    """An alarm without an action is noise."""
    assert all(row[-1] for row in rows(title))


def test_the_metrics_are_those_of_the_code() -> None:
    """Name, kind, labels and help."""
    documented = [row for row in rows("Health and metrics") if row[0].startswith("alfa_")]
    assert documented == [(each.name, each.kind, ", ".join(each.labels), each.help) for each in METRICS]


def test_queries_name_metrics_that_exist() -> None:
    """A misspelt name would be an alert that never comes."""
    found = queries()
    assert len(found) > 30
    for query in found:
        assert set(re.findall(r"\balfa_\w+", query)) <= SAMPLES.keys(), query


def test_queries_select_by_labels_that_exist() -> None:
    """So would a misspelt label."""
    selectors = [each for query in queries() for each in re.findall(r"\b(alfa_\w+)\{([^}]*)\}", query)]
    assert selectors
    for name, matchers in selectors:
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert labels <= set(SAMPLES[name].labels) | LABELS_OF_PROMETHEUS, (name, matchers)


def test_every_rule_is_whole() -> None:
    """Name, expression, severity and summary."""
    rules = ALERTS.split("- alert: ")[1:]
    assert len({rule.split("\n")[0] for rule in rules}) == len(rules)
    for rule in rules:
        assert all(key in rule for key in ("expr: ", "severity: ", "summary: ")), rule
