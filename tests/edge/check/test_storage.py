"""Directories as they are on a box: writable, with room, and closed to others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.check.findings import Finding, Outcome
from edge.check.storage import check_storage
from edge.settings import load_settings

LINE = '[lines.line1]\nprompts = "generic"\nsource = { kind = "synthetic" }\n'


@pytest.fixture
def look(write_config: Callable[..., Path]) -> Callable[..., dict[str, Finding]]:
    """`look(tables)` is what is found, by check."""

    def findings(tables: str = "") -> dict[str, Finding]:
        config = write_config(tables + LINE)
        return {found.check: found for found in check_storage(config, load_settings(config))}

    return findings


def test_a_new_box_lacks_nothing(look: Callable[..., dict[str, Finding]], runtime_dir: Path) -> None:
    """Directories that are not there yet can be made; the check leaves none behind."""
    found = look()
    assert {each.outcome for name, each in found.items() if name != "config"} == {Outcome.OK}
    assert found["config"].outcome is (Outcome.WARN if os.geteuid() == 0 else Outcome.OK)
    assert found["state"].detail == "will be made at the first start"
    assert [path.name for path in runtime_dir.iterdir()] == ["config.toml"]


def test_a_state_directory_that_is_a_file(look: Callable[..., dict[str, Finding]], runtime_dir: Path) -> None:
    """Neither record nor evidence could be made."""
    (runtime_dir / "var").write_text("")
    assert look()["state"].outcome is Outcome.FAIL


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_somebody_else(look: Callable[..., dict[str, Finding]], runtime_dir: Path) -> None:
    """Told before the service cannot write its record."""
    (runtime_dir / "var").mkdir(mode=0o500)
    found = look()["state"]
    assert (found.outcome, "chown" in found.advice) == (Outcome.FAIL, True)


@pytest.mark.parametrize(
    ("mode", "outcome"), [(0o750, Outcome.OK), (0o755, Outcome.FAIL), (0o751, Outcome.FAIL)]
)
def test_sockets_are_not_for_everybody(
    look: Callable[..., dict[str, Finding]], runtime_dir: Path, mode: int, outcome: Outcome
) -> None:
    """Whoever reaches them may publish verdicts."""
    (runtime_dir / "run").mkdir()
    (runtime_dir / "run").chmod(mode)
    assert look()["runtime"].outcome is outcome


def test_a_config_that_everybody_may_change(write_config: Callable[..., Path]) -> None:
    """It says where the PLC is and what is judged with what."""
    config = write_config(LINE)
    config.chmod(0o666)
    found = next(check_storage(config, load_settings(config)))
    assert (found.check, found.outcome, found.advice) == ("config", Outcome.FAIL, f"chmod o-w {config}")


def test_too_little_room_for_the_evidence(look: Callable[..., dict[str, Finding]]) -> None:
    """Only warned of: the oldest pictures go first."""
    found = look("[results]\nevidence_max_mb = 10000000\n")["evidence space"]
    assert found.outcome is Outcome.WARN
    assert "up to 10000000 MB will be used" in found.detail
