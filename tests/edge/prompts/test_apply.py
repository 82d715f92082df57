"""`alfa-prompts apply`, `history` and `rollback`: whole files or none, and a way back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfa.calibration import Calibration
from alfa.prompting.promptset import PromptSet, load_prompt_set
from edge.prompts import applying, history
from edge.prompts import main as prompts
from edge.prompts.place import place_of_line
from edge.settings import load_settings

Command = Callable[..., Any]
# Of this directory's conftest; pytest's importlib mode gives it no importable name.
Box = Any


@pytest.fixture
def apply(command: Command, box: Box) -> Command:
    """`apply(subcommand, ...)` runs it on line `left` of the box."""

    def run(subcommand: str, *arguments: object) -> Any:
        return command(prompts.main, subcommand, *arguments, "--line", "left", "--config", box.config)

    return run


def test_apply_replaces_the_file_and_keeps_the_old_one(apply: Command, box: Box) -> None:
    """Byte for byte, comments included; the commands that make it run are told for every detector."""
    box.prompts.write_text("# by hand\n" + box.prompts.read_text())
    before = box.prompts.read_bytes()
    ended = apply("apply", box.new)
    assert ended.exit_code == 0
    assert box.prompts.read_bytes() == box.new.read_bytes()
    assert [path.read_bytes() for path in box.history] == [before]
    assert ended.stdout.splitlines()[1:] == [
        "to be loaded:",
        "systemctl reload alfa-detector@left",
        "systemctl reload alfa-detector@right",
    ]


def test_what_is_in_force_already_is_not_kept_again(apply: Command, box: Box) -> None:
    """The same command twice leaves one entry."""
    apply("apply", box.new)
    assert "in force already" in apply("apply", box.new).stdout
    assert len(box.history) == 1


def test_a_class_that_no_line_uses_may_be_applied(command: Command, box: Box) -> None:
    """For a product to come; there is nothing to keep and nothing to reload."""
    ended = command(prompts.main, "apply", box.new, "--class", "Wing nut", "--config", box.config)
    assert ended.exit_code == 0
    assert load_prompt_set(box.prompts.with_name("wing_nut.toml")).content_hash
    assert "no line of the config uses it" in ended.stdout
    assert box.history == []


def test_rollback_goes_to_the_set_before_and_forward_again(apply: Command, box: Box, old_hash: str) -> None:
    """The set that it takes out of force is kept as well."""
    apply("apply", box.new)
    new_hash = box.hash
    assert apply("rollback").exit_code == 0
    assert box.hash == old_hash
    assert apply("rollback").exit_code == 0
    assert box.hash == new_hash


def test_rollback_to_a_hash(apply: Command, box: Box, old_hash: str, tmp_path: Path) -> None:
    """Any set of the history, by its first digits; `history` shows them, newest first."""
    apply("apply", box.new)
    third = tmp_path / "third.toml"
    third.write_text(box.new.read_text().replace("dent", "stain"))
    apply("apply", third)
    new_hash = load_prompt_set(box.new).content_hash
    listed = apply("history").stdout
    assert -1 < listed.index(new_hash) < listed.index(old_hash)
    assert apply("rollback", old_hash[:6]).exit_code == 0
    assert box.hash == old_hash


def test_a_history_that_holds_nothing_is_told(apply: Command, box: Box) -> None:
    """In a sentence: the head of an empty table says nothing."""
    listed = apply("history")
    assert (listed.exit_code, listed.stdout.count("\n")) == (0, 1)
    assert listed.stdout.startswith("plate: no other set was in force before")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rollback"], "holds no other set; nothing was applied before"),
        (["rollback", "0123"], "HASH = '0123': is not in the history of plate; it holds nothing yet"),
        (["rollback", ""], "HASH = '': is not in the history"),
        (["apply", "missing.toml"], "missing.toml: no such prompt file"),
        (["apply", "generic", "--class", "nut"], "give one of --line and --class"),
        (["apply", "generic", "--calibration", "x.json"], "lines.left.calibration: is not set"),
    ],
)
def test_wrong_use_changes_nothing(apply: Command, box: Box, arguments: list[str], line: str) -> None:
    """One line, exit 2."""
    before = box.files()
    ended = apply(*arguments)
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1)
    assert line in ended.stderr
    assert box.files() == before


def test_a_broken_file_is_not_applied(apply: Command, box: Box) -> None:
    """What the detector would refuse never comes into force."""
    box.new.write_text(box.new.read_text().replace("schema = 1", "schema = 2"))
    before = box.files()
    ended = apply("apply", box.new)
    assert ended.exit_code == 2
    assert "schema = 2: this release reads version 1" in ended.stderr
    assert box.files() == before


def test_what_cannot_be_kept_is_not_replaced(apply: Command, box: Box) -> None:
    """No way back, no way forward: exit 3, and the set in force stays."""
    (box.prompts.parent / ".history").write_text("a file where a directory should be")
    before = box.files()
    ended = apply("apply", box.new)
    assert ended.exit_code == 3
    assert "not_written: " in ended.stderr
    assert ".history" in ended.stderr
    assert box.files() == before


def test_other_files_in_the_history_are_no_entries(apply: Command, box: Box) -> None:
    """Such as a person's copy."""
    apply("apply", box.new)
    box.prompts.rename(box.history[0].with_name("copy-of-plate.toml"))
    assert "copy" not in apply("history").stdout
    assert apply("rollback").exit_code == 0


def test_a_file_that_was_broken_by_hand_is_kept(apply: Command, box: Box) -> None:
    """It may be all there is of someone's work; nobody is sent back to it."""
    box.prompts.write_text("not [ toml")
    assert apply("apply", box.new).exit_code == 0
    assert [path.read_text() for path in box.history] == ["not [ toml"]
    assert "unreadable" in apply("history").stdout
    assert apply("rollback").exit_code == 2


def test_link_to_elsewhere_is_not_copied_into_the_history(apply: Command, box: Box) -> None:
    """Who may write prompts would have root, who applies, hand over any file of the machine."""
    secret = box.directory / "secret"
    secret.write_text("hush")
    box.prompts.unlink()
    box.prompts.symlink_to(secret)
    ended = apply("apply", box.new)
    assert ended.exit_code == 2
    assert "is a link to outside its directory" in ended.stderr
    assert not (box.prompts.parent / ".history").exists()


def test_a_directory_that_is_not_there_is_told(
    apply: Command, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing where no detector reads would be worse."""
    monkeypatch.setenv("ALFA__PATHS__PROMPTS", str(box.directory / "elsewhere"))
    ended = apply("apply", box.new)
    assert ended.exit_code == 2
    assert "no such directory; correct the path" in ended.stderr


def test_prompts_that_a_calibration_is_not_for_are_not_applied(
    apply: Command, box: Box, old_set: PromptSet
) -> None:
    """The detector would refuse to reload, and could not start again."""
    box.calibrate("left", old_set)
    before = box.files()
    ended = apply("apply", box.new)
    assert ended.exit_code == 2
    assert f"was made for prompts {old_set.content_hash}, not" in ended.stderr
    assert "give its file with --calibration" in ended.stderr
    assert box.files() == before


def test_prompts_and_their_calibration_come_and_go_together(
    apply: Command, box: Box, old_set: PromptSet, new_set: PromptSet, tmp_path: Path
) -> None:
    """Both are replaced, both are kept, both come back."""
    in_force = box.calibrate("left", old_set)
    box.calibrate("other", new_set).rename(tmp_path / "new.json")
    assert apply("apply", box.new, "--calibration", tmp_path / "new.json").exit_code == 0
    assert Calibration.load(in_force).prompts_hash == box.hash == new_set.content_hash
    assert apply("rollback").exit_code == 0
    assert Calibration.load(in_force).prompts_hash == box.hash == old_set.content_hash


def test_another_lines_calibration_stands_in_the_way_too(
    apply: Command, box: Box, old_set: PromptSet
) -> None:
    """Lines that share a prompt file are changed together or not at all."""
    box.calibrate("right", old_set)
    ended = apply("apply", box.new)
    assert ended.exit_code == 2
    assert "lines.right.calibration" in ended.stderr


def _systemctl(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for systemd, which no test may ask to reload anything."""
    program = directory / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_every_detector_of_the_prompts_is_asked_to_reload(
    apply: Command, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the file is in force already: an earlier reload may have failed."""
    _systemctl(tmp_path, f'echo "$@" >> {tmp_path}/asked', monkeypatch)
    assert apply("apply", box.new, "--reload").exit_code == 0
    assert apply("apply", box.new, "--reload").exit_code == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["reload alfa-detector@left", "reload alfa-detector@right"] * 2


def test_a_reload_that_systemd_refuses_is_a_fault(
    apply: Command, box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3 with systemd's own words; the file stays, as the next start would load it anyway."""
    _systemctl(tmp_path, "echo 'Unit alfa-detector@left.service not found.' >&2; exit 5", monkeypatch)
    ended = apply("apply", box.new, "--reload")
    assert ended.exit_code == 3
    assert "reload_failed: systemctl reload alfa-detector@left: Unit" in ended.stderr
    assert box.prompts.read_bytes() == box.new.read_bytes()


# Reads a number a line and applies in a child that is killed the n-th time it is about to change the disk;
# a file that is written in place is then open and empty.
_KILLED = """
import os, signal, sys
from pathlib import Path
from edge.prompts.applying import plan, put_in_force
from edge.prompts.place import place_of_line
from edge.settings import load_settings

config, prompts, calibration = map(Path, sys.argv[1:])
place = place_of_line(load_settings(config), "left")

CHANGES = ("write", "fsync", "chmod", "rename", "replace", "mkdir")

def kill_at(moment):
    def look(frame, event, called):
        nonlocal moment
        if event == "c_call" and called.__name__ in CHANGES and not isinstance(called.__self__, str):
            moment -= 1
            if moment < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(look)

for line in sys.stdin:
    if not (child := os.fork()):
        kill_at(int(line))
        put_in_force(plan(place, prompts, {"left": calibration}))
        os._exit(0)
    print("killed" if os.WIFSIGNALED(os.waitpid(child, 0)[1]) else "ended", flush=True)
"""


def test_a_kill_at_any_moment_leaves_whole_files_and_the_way_back(
    box: Box, old_set: PromptSet, new_set: PromptSet, tmp_path: Path
) -> None:
    """Prompts and calibration are the old ones or the new ones, and the same command again ends the work."""
    in_force = box.calibrate("left", old_set)
    calibration = box.calibrate("other", new_set).rename(tmp_path / "new.json")
    old, new = old_set.content_hash, new_set.content_hash
    place = place_of_line(load_settings(box.config), "left")
    program = [sys.executable, "-c", _KILLED, str(box.config), str(box.new), str(calibration)]
    with subprocess.Popen(program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killing:
        moment = 0
        while _answer(killing, moment) == "killed":
            moment += 1
            assert {box.hash, Calibration.load(in_force).prompts_hash} <= {old, new}
            applying.put_in_force(applying.plan(place, box.new, {"left": calibration}))
            assert box.hash == Calibration.load(in_force).prompts_hash == new
            entry = history.before(place)
            applying.put_in_force(applying.plan(place, entry.path, entry.calibrations))
            assert box.hash == Calibration.load(in_force).prompts_hash == old
            shutil.rmtree(box.prompts.parent / ".history")
        assert killing.stdin is not None
        killing.stdin.close()
    assert moment > 10, "was hardly ever killed"


def _answer(program: subprocess.Popen[str], moment: int) -> str:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(f"{moment}\n")
    program.stdin.flush()
    return program.stdout.readline().strip()
