"""docs/record.md names every table, every column and every value of the export."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from edge.results.export import COLUMNS
from edge.results.record import Record
from edge.results.schema import APPLICATION_ID

DOCUMENT = Path(__file__).parents[3] / "docs" / "record.md"


def test_every_column_is_explained(record: Record, tmp_path: Path) -> None:
    """Table by table, as the schema is now."""
    sections = DOCUMENT.read_text(encoding="utf-8").split("\n**")
    with closing(sqlite3.connect(tmp_path / "results.sqlite")) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        assert tables
        for table in tables:
            (section,) = [each for each in sections if each.startswith(f"{table}**")]
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            assert [column for column in columns if f"`{column}`" not in section] == []


def test_every_value_of_the_export_is_named() -> None:
    """In the order of the CSV."""
    text = DOCUMENT.read_text(encoding="utf-8").split("## Export")[1]
    places = [text.index(f"`{column}`") for column in COLUMNS]
    assert places == sorted(places)


def test_the_file_is_told_by_its_application_id() -> None:
    """As SQLite tools show it."""
    assert f"0x{APPLICATION_ID:X}" in DOCUMENT.read_text(encoding="utf-8")
