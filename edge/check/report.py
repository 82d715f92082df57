"""Findings for a person or a program: a table, or JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from edge.check.findings import Finding, Outcome

_STYLES = {Outcome.OK: "green", Outcome.WARN: "yellow", Outcome.FAIL: "bold red"}


def failed(findings: Sequence[Finding]) -> bool:
    """Whether one is a failure; warnings are none."""
    return any(finding.outcome is Outcome.FAIL for finding in findings)


def as_table(findings: Sequence[Finding]) -> Table:
    """A row a finding, what to do below what was found; details are no console markup."""
    table = Table("check", "of", "result", "found, and what to do")
    for finding in findings:
        table.add_row(
            finding.check,
            Text(finding.subject, overflow="fold"),
            Text(finding.outcome, _STYLES[finding.outcome]),
            Text("\n-> ".join(filter(None, (finding.detail, finding.advice))), overflow="fold"),
        )
    return table


def as_json(findings: Sequence[Finding]) -> str:
    """`{"ok": bool, "findings": [{check, subject, outcome, detail, advice}, ...]}`."""
    rows = [dataclasses.asdict(finding) for finding in findings]
    return json.dumps({"ok": not failed(findings), "findings": rows}, ensure_ascii=False, indent=2)
