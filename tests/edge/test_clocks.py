"""Monotonic times from elsewhere are told from this machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.clocks import dated_here, is_foreign, this_boot
from edge.messages import Result, Verdict

UNITS = Path(__file__).parents[2] / "systemd"
SECOND = 10**9
NOW = 1000 * SECOND


def published(mono_ns: int, boot: str) -> Verdict:
    return Verdict(
        "line1", 1, 2, "", Result.OK, score=0.1, threshold=0.5, published_mono_ns=mono_ns, boot=boot
    )


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda unit: unit.name)
def test_no_unit_hides_the_boots_id(unit: Path) -> None:
    """ProcSubset=pid would: then every clock is taken for this machine's own."""
    settings = [line for line in unit.read_text().splitlines() if not line.startswith("#")]
    assert not any(line.startswith("ProcSubset=") for line in settings)


@pytest.mark.parametrize(
    ("boot", "mono_ns", "foreign"),
    [
        (this_boot(), NOW - 5 * SECOND, False),
        ("", NOW - 5 * SECOND, False),
        (this_boot(), NOW + 5 * SECOND, True),
        ("", NOW + 5 * SECOND, True),
        ("another", NOW - 5 * SECOND, True),
    ],
)
def test_time_of_another_clock_is_foreign(boot: str, mono_ns: int, foreign: bool) -> None:
    """By the name of its boot, or because it is still to come."""
    assert is_foreign(boot, mono_ns, NOW) is foreign


def test_verdict_of_this_boot_keeps_its_time() -> None:
    """However late it comes: a process that was stopped for a minute reads old verdicts as old."""
    verdict = published(NOW - 60 * SECOND, this_boot())
    assert dated_here(verdict, replayed=False, now_ns=NOW) == verdict


@pytest.mark.parametrize(("mono_ns", "boot"), [(5, "another"), (0, ""), (NOW + 5 * SECOND, this_boot())])
@pytest.mark.parametrize(("replayed", "dated"), [(False, NOW), (True, 0)])
def test_verdict_of_another_clock_is_dated_by_its_arrival(
    mono_ns: int, boot: str, replayed: bool, dated: int
) -> None:
    """One that comes live is new; of one that was asked for nobody knows."""
    assert dated_here(published(mono_ns, boot), replayed, NOW).published_mono_ns == dated
