"""docs/security.md promises tests and a policy; both are there as it says."""

from __future__ import annotations

import re
from pathlib import Path

from edge.security.doors import LETS_IN, SERVED_BY, Door
from edge.security.keys import Role

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
# The names of `[network]` for each kind of door.
PLACES = {
    Door.FRAMES: "cameras.LINE.frames",
    Door.VERDICTS: "detectors.NAME.verdicts",
    Door.MAPS: "detectors.NAME.maps",
    Door.REPLAY: "detectors.NAME.replay",
    Door.RESULTS: "results.beats",
}


def test_every_test_that_is_named_exists() -> None:
    """A threat without its test would be a promise only."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in sources} == set()
    files = set(re.findall(r"`((?:\w+/)*test_\w+\.py)`", TEXT))
    assert {file for file in files if not list((ROOT / "tests").rglob(Path(file).name))} == set()


def test_who_is_let_in_is_told_as_it_is() -> None:
    """The table of endpoints is that of the program."""
    for door, place in PLACES.items():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{place}` "))
        _, _, served_by, lets_in = (cell.strip() for cell in row.strip("| ").split("|"))
        assert Role(served_by) is SERVED_BY[door]
        assert {Role(role) for role in lets_in.split(", ")} == LETS_IN[door]
