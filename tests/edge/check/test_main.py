"""`edge-check`: a table or JSON, and exit codes for automation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alfa.settings import ModelSettings
from edge.check.main import app
from edge.processes import free_port

LINE = """
[lines.line1]
prompts = "metal_plate"
source = { kind = "synthetic", width = 96, height = 64 }
"""


@pytest.fixture
def check(write_config: Callable[..., Path], tiny_settings: ModelSettings) -> Callable[..., tuple[int, str]]:
    """`check(tables, option, ...)` gives exit code and output for a box with a tiny model."""
    model = "\n".join(f"{key} = {json.dumps(value)}" for key, value in tiny_settings.model_dump().items())

    def run(tables: str = "", *options: str) -> tuple[int, str]:
        config = write_config(f"{tables}\n[model]\n{model}\n{LINE}")
        ended = CliRunner().invoke(app, ["--config", str(config), *options])
        return ended.exit_code, ended.stdout

    return run


def test_warnings_do_not_fail(check: Callable[..., tuple[int, str]]) -> None:
    """A line that is not calibrated: JSON with all findings, exit 0."""
    code, stdout = check("", "--json")
    assert code == 0
    report = json.loads(stdout)
    assert report["ok"] is True
    found = {each["check"]: each["outcome"] for each in report["findings"]}
    assert (found["calibration"], found["camera"], found["model"]) == ("warn", "ok", "ok")


def test_a_failure_is_one_row_among_all(check: Callable[..., tuple[int, str]]) -> None:
    """Exit 1; the checks after it are made as well."""
    code, stdout = check(f"[plc]\nport = {free_port()}")
    assert (code, "fail" in stdout) == (1, True)
    checks = ("config", "state", "runtime", "plc", "camera", "model", "prompts")
    assert all(check in stdout for check in checks)


def test_every_failure_says_what_to_do(check: Callable[..., tuple[int, str]], runtime_dir: Path) -> None:
    """So does every warning; what is well needs no advice."""
    (runtime_dir / "var").write_text("in its place")
    (runtime_dir / "run").mkdir(mode=0o755)
    code, stdout = check(f"[plc]\nport = {free_port()}", "--json")
    assert code == 1
    for found in json.loads(stdout)["findings"]:
        assert bool(found["advice"]) is (found["outcome"] != "ok"), found


def test_a_wrong_config_is_bad_input(write_config: Callable[..., Path]) -> None:
    """One line, exit 2, no table."""
    config = write_config("[lines.line1]\n")
    command = [sys.executable, "-m", "edge.check.main", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "lines.line1." in done.stderr
