"""`python -m benchmarks` as a command: what it prints and writes, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alfa.cli.entry import run
from benchmarks import __main__ as suite

_HEAD = "from benchmarks.suite import Benchmark, Row, Unavailable\nimport sys\n"
_GOOD = """
def run(effort):
    print("a library that prints")
    return [Row(f"quick {effort.quick}, {effort.seconds:g} s", 2.0, "GB/s", target=">= 1.5 GB/s")]
BENCHMARK = Benchmark("good", "A good one", run)
"""
_ABSENT = """
def run(effort):
    raise Unavailable("the peer is not installed")
BENCHMARK = Benchmark("absent", "A peer's", run)
"""
_BROKEN = """
def run(effort):
    raise ValueError("went wrong")
BENCHMARK = Benchmark("broken", "A broken one", run)
"""
_KILLED = """
import os, signal
def run(effort):
    os.kill(os.getpid(), signal.SIGKILL)
BENCHMARK = Benchmark("killed", "One that is killed", run)
"""

Command = Callable[..., int]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command over made-up benchmarks in modules of their own; gives its exit code."""
    sources = {"good": _GOOD, "absent": _ABSENT, "broken": _BROKEN, "killed": _KILLED}
    for name, source in sources.items():
        (tmp_path / f"bench_{name}.py").write_text(_HEAD + source)
    monkeypatch.setattr(suite, "ALL", {name: f"bench_{name}" for name in sources} | {"gone": "bench_gone"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def invoke(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        with pytest.raises(SystemExit) as ended:
            run(suite.app)
        return int(ended.value.code or 0)

    return invoke


def test_a_run_prints_the_machine_then_a_table_and_a_summary(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """A peer that is missing has its own line and is not counted as met; the exit code is 0."""
    assert command("--only", "good,absent", "--quick", "--seconds", "2") == 0
    out = capsys.readouterr().out
    assert "cores" in out.splitlines()[0]
    assert "A good one (good" in out
    assert "quick True, 2 s" in out
    assert "absent: cannot run here: the peer is not installed" in out
    assert "1 targets met, 0 MISSED, 0 figures not run; of 2 benchmarks 1 cannot run here, 0 crashed" in out


def test_json_and_markdown_are_written(command: Command, tmp_path: Path) -> None:
    """The same rows as on the terminal."""
    files = (tmp_path / "found.json", tmp_path / "found.md")
    assert command("--only", "good", "--json", str(files[0]), "--markdown", str(files[1])) == 0
    (found,) = json.loads(files[0].read_text())["benchmarks"]
    assert found["rows"][0]["verdict"] == "met"
    assert "### A good one" in files[1].read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken", "broken: CRASHED: ValueError: went wrong"),
        ("gone", "gone: CRASHED: ModuleNotFoundError: No module named 'bench_gone'"),
        ("killed", "killed: CRASHED: status -9"),
    ],
)
def test_a_crash_stops_no_other_and_ends_with_3(
    command: Command, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    """Each in its own process: the good one is measured, the crash is one line with its cause."""
    assert command("--only", f"good,{name}") == 3
    captured = capsys.readouterr()
    assert "A good one" in captured.out
    assert said in captured.out
    assert captured.err == f"error: benchmark_crashed: {name}\n"


@pytest.mark.parametrize("only", ["nothing", "good,", "good,nothing"])
def test_an_unknown_name_is_one_line_and_exit_code_2(
    command: Command, capsys: pytest.CaptureFixture[str], only: str
) -> None:
    """Before anything is measured."""
    assert command("--only", only) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: --only = ")
    assert captured.err.count("\n") == 1


def test_a_name_may_be_given_by_how_it_begins() -> None:
    """`peers` is all three of them, in the suite's order."""
    assert suite._chosen("line,peers_w") == ["peers_winclip", "line_latency", "line_many"]
    assert suite._chosen("") == list(suite.ALL)


def test_an_output_that_cannot_be_written_is_refused_first(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Not after minutes of measuring."""
    assert command("--only", "good", "--json", str(tmp_path)) == 2
    assert "is a directory" in capsys.readouterr().err


def test_the_module_is_a_command() -> None:
    """As it is typed."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "nothing"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: --only = 'nothing': is no benchmark; choose from matmul, ")
