"""From `alfa-prompts apply --reload` to the next verdict of a running detector."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfa.prompting.promptset import PromptSet, save_prompt_set
from edge.messages import FaultReason, Frame
from edge.prompts import main as prompts

Command = Callable[..., Any]
MakeFrame = Callable[..., Frame]
# The bench is a fixture of this directory's conftest; pytest's importlib mode gives it no importable name.
Bench = Any


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does what the unit's ExecReload does, to the process that the bench runs in."""
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n[ \"$*\" = 'reload alfa-detector@main' ] && kill -HUP {os.getpid()}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("systemctl")
def test_applied_prompts_judge_the_next_parts_and_a_rollback_the_ones_after(
    bench: Bench, make_frame: MakeFrame, command: Command, tmp_path: Path
) -> None:
    """Every part has a verdict, each with the hash of the set that was in force when it was judged."""
    new = PromptSet("bottle", ("A normal image of a bottle.",), ("An abnormal image of a bottle.",))
    save_prompt_set(new, tmp_path / "new.toml")
    bench.start()
    bench.send(make_frame(0))
    old_hash = bench.verdict(0).prompts
    change = ("--reload", "--config", bench.config)
    assert command(prompts.main, "apply", tmp_path / "new.toml", *change).exit_code == 0
    bench.counter("reloaded", 1)
    bench.send(make_frame(1))
    assert bench.verdict(1).prompts == new.content_hash
    assert command(prompts.main, "rollback", *change).exit_code == 0
    bench.counter("reloaded", 2)
    bench.send(make_frame(2))
    assert bench.verdict(2).prompts == old_hash
    assert {verdict.fault for verdict in bench.verdicts} == {FaultReason.NONE}
