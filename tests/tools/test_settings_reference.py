"""docs/configure.md is what the code says."""

from __future__ import annotations

from pathlib import Path

from tools.settings_reference import reference

_PAGE = Path(__file__).parents[2] / "docs" / "configure.md"


def test_the_page_in_docs_is_the_one_that_the_settings_give() -> None:
    """Else print it anew: `python -m tools.settings_reference > docs/configure.md`."""
    assert _PAGE.read_text() == reference()


def test_every_key_has_a_description() -> None:
    """A row ends with a cell of words; only a source's `kind` speaks for itself."""
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |") and not row.startswith("| `kind`")] == []
