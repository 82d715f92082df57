"""`alfa-prompts diff`: between files, and with what judges a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfa.prompting.promptset import PromptSet, save_prompt_set
from edge.messages import Verdict
from edge.prompts import main as prompts

Command = Callable[..., Any]
# Of this directory's conftest; pytest's importlib mode gives it no importable name.
Box = Any
Judged = Callable[..., Verdict]


def test_diff_of_two_files(command: Command, tmp_path: Path) -> None:
    """Hashes, counts and texts of what differs, by section; exit 1 as diff's."""
    old = PromptSet("nut", ("clean", "even"), ("a dent", "rust"))
    new = dataclasses.replace(old, normal=("clean", "rust"), abnormal=("a dent", "a crack"))
    save_prompt_set(old, tmp_path / "old.toml")
    save_prompt_set(new, tmp_path / "new.toml")
    ended = command(prompts.main, "diff", tmp_path / "new.toml", "--against", tmp_path / "old.toml")
    assert ended.exit_code == 1
    assert ended.stdout.splitlines()[1:] == [
        f"hash {old.content_hash} -> {new.content_hash}",
        "normal: 1 removed",
        "- even",
        "abnormal: 1 added",
        "+ a crack",
        "now normal: 1",
        "> rust",
    ]


def test_diff_of_a_file_with_itself(command: Command, box: Box) -> None:
    """The hashes, nothing else, and exit 0."""
    ended = command(prompts.main, "diff", box.new, "--against", box.new)
    assert (ended.exit_code, len(ended.stdout.splitlines())) == (0, 2)


def test_the_running_set_is_that_of_the_lines_last_part(
    command: Command, box: Box, judged: Judged, old_hash: str
) -> None:
    """Not the file in force, which no detector has loaded yet; the set is found in the history."""
    box.record(judged(0, old_hash))
    assert command(prompts.main, "apply", box.new, "--line", "left", "--config", box.config).exit_code == 0
    ended = command(prompts.main, "diff", box.new, "--line", "left", "--config", box.config)
    assert ended.exit_code == 1
    assert ended.stdout.startswith(f"{box.history[0]} -> {box.new}")
    assert f"hash {old_hash} -> {box.hash}" in ended.stdout
    box.record(judged(1, box.hash))
    assert command(prompts.main, "diff", box.new, "--line", "left", "--config", box.config).exit_code == 0


def test_before_the_first_part_the_file_in_force_is_meant(command: Command, box: Box) -> None:
    """There is no record yet, or none of this line; which it is stands in the first line."""
    ended = command(prompts.main, "diff", box.prompts, "--line", "right", "--config", box.config)
    assert ended.exit_code == 0
    assert ended.stdout.startswith(f"{box.prompts} (in force, no part judged yet) -> ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: --line: "),
        (["--line", "middle"], "has no such line; its lines are left, right"),
        (["--line", "left"], "runs prompts 0123456789abcdef, of which neither"),
        (["--against", "missing.toml"], "missing.toml: no such prompt file"),
    ],
)
def test_what_cannot_be_compared(
    command: Command, box: Box, judged: Judged, arguments: list[str], line: str
) -> None:
    """One line, exit 2."""
    box.record(judged(0, "0123456789abcdef"))
    ended = command(prompts.main, "diff", box.new, "--config", box.config, *arguments)
    assert ended.exit_code == 2
    assert len(ended.stderr.splitlines()) == 1
    assert line in ended.stderr
