"""What the commands print of changes and of the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from alfa.prompting.changes import PromptChanges, SectionChange
from edge.prompts.history import Kept


def change_lines(found: PromptChanges) -> Iterator[str]:
    """Both hashes, then what differs, section by section: - gone, + new, > changed side."""
    yield f"hash {found.before_hash} -> {found.after_hash}"
    for section in found.sections:
        yield _heading(section)
        yield from _marked("-", section.removed)
        yield from _marked("+", section.added)
    for side, texts in (("abnormal", found.became_abnormal), ("normal", found.became_normal)):
        if texts:
            yield f"now {side}: {len(texts)}"
            yield from _marked(">", texts)


def history_table(name: str, entries: Sequence[Kept]) -> Table:
    """One row an entry, newest first."""
    table = Table(title=f"{name}: sets that were in force before")
    for column in ("replaced at (UTC)", "hash", "calibrations", "file"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        table.add_row(
            f"{entry.kept_at:%Y-%m-%d %H:%M:%S}",
            entry.prompts_hash,
            ", ".join(sorted(entry.calibrations)) or "-",
            str(entry.path),
        )
    return table


def _heading(section: SectionChange) -> str:
    counts = [
        *([f"{len(section.removed)} removed"] if section.removed else []),
        *([f"{len(section.added)} added"] if section.added else []),
        *(["another order"] if section.reordered else []),
    ]
    return f"{section.section}: {', '.join(counts)}"


def _marked(sign: str, texts: Sequence[str]) -> Iterator[str]:
    # Queries in the provenance have several lines.
    return (f"{sign} {' '.join(text.split())}" for text in texts)
