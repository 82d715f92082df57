"""What the commands print of changes and of the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from rich.table import Table

from alfa.prompting.changes import PromptChanges, SectionChange
from edge.messages import Result
from edge.prompts.history import Kept

if TYPE_CHECKING:
    # Brings torch, which most commands do without.
    from edge.prompts.rehearsal import Rehearsal, Rehearsed


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
    for column in ("replaced at (UTC)", "hash", "calibrations"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        table.add_row(
            f"{entry.kept_at:%Y-%m-%d %H:%M:%S}",
            entry.prompts_hash,
            ", ".join(sorted(entry.calibrations)) or "-",
        )
    return table


def rehearsal_table(line: str, rehearsal: Rehearsal) -> Table:
    """How many parts would have had another verdict and how far scores moved; each changed part by name."""
    kind = "calibrated for the running prompts" if rehearsal.calibrated else "not calibrated"
    table = Table(title=f"{line}: threshold {rehearsal.threshold:.4f}, {kind}", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    table.add_row("parts", str(len(rehearsal.parts)))
    table.add_row("same verdict", str(len(rehearsal.parts) - len(rehearsal.changed)))
    turns = Counter(part.results for part in rehearsal.changed)
    for turn in dict.fromkeys([(Result.OK, Result.NG), (Result.NG, Result.OK), *turns]):
        table.add_row(" -> ".join(turn), str(turns[turn]))
    shifts = [part.after.score - part.before.score for part in rehearsal.parts if _scored(part)]
    if shifts:
        table.add_row("score moved, median (least to most)", _spread(shifts))
    for part in rehearsal.changed:
        scores = f"{part.before.score:.4f} -> {part.after.score:.4f}"
        table.add_row(str(part.picture), f"{' -> '.join(part.results)}  {scores}")
    return table


def _scored(part: Rehearsed) -> bool:
    return part.before.finite and part.after.finite


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):+.4f} ({min(values):+.4f} to {max(values):+.4f})"


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
