"""Prometheus' own tool on what is made for it: the pages of the services, and the alert rules of docs/."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from edge.detector.line import Line
from edge.detector.verdicts import Stamp
from edge.health import Health
from edge.heart import Heart, ServiceName
from edge.lifecycle import Lifecycle
from edge.metrics import SERIES, SUMMARIES
from edge.web import routes

DOCS = Path(__file__).parents[2] / "docs"
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt install prometheus)")


def promtool(*arguments: str, page: str | None = None) -> str:
    """What it says; fails where it finds a fault."""
    command = [PROMTOOL or "promtool", *arguments]
    ended = subprocess.run(command, input=page, capture_output=True, text=True, cwd=DOCS, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_every_rule_comes_when_it_should_and_only_then() -> None:
    """Each has a test beside it, with its text as it reaches a person."""
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")


def test_no_rule_is_without_a_test() -> None:
    """One with an alert, and one at which it is silent."""
    names = [rule.split("\n")[0] for rule in (DOCS / "alerts.yml").read_text().split("- alert: ")[1:]]
    tests = (DOCS / "alerts.test.yml").read_text()
    assert names
    for name in names:
        assert f"alertname: {name}\n" in tests, name
        assert f"alertname: {name}, " in tests, name


def test_rules_are_sound() -> None:
    """Their syntax, and no rule twice."""
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", "alerts.yml")


@pytest.mark.parametrize("service", get_args(ServiceName))
def test_the_page_is_sound(service: ServiceName) -> None:
    """Every metric of a service has help, and a name that says its kind and unit."""
    line = Line("line1", 1, Stamp("main", 0), history=10)
    line.use(Stamp("main", 1))
    heart = line.heart if service == "detector" else Heart(service, "line1", 1)
    summaries = [name for pair in SUMMARIES.values() for name in pair] if service == "results" else []
    heart.beat(dict.fromkeys([*SERIES[service], *summaries], 1))
    with Lifecycle() as lifecycle:
        page = routes(service, Health([heart], lifecycle))["/metrics"]("").body.decode()
    assert promtool("check", "metrics", page=page) == ""
