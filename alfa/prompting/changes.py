"""What differs between two prompt sets: texts that came, went, changed side or changed places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from alfa.prompting.promptset import PromptSet


@dataclass(frozen=True, slots=True)
class SectionChange:
    """What differs in one section of a prompt file.

    Attributes:
        section: its key in the file, such as `abnormal` or `provenance.model`.
        removed: texts that are gone, in the old file's order.
        added: texts that are new, in the new file's order.
        reordered: whether the texts that stayed stand in another order, which is another hash.
    """

    section: str
    removed: tuple[str, ...]
    added: tuple[str, ...]
    reordered: bool


@dataclass(frozen=True, slots=True)
class PromptChanges:
    """All that differs between two prompt sets; false where nothing does.

    Attributes:
        before_hash: content hash of the old set.
        after_hash: content hash of the new one.
        became_abnormal: prompts of good parts that are now of defective ones; in no section beside.
        became_normal: the reverse.
        sections: those that differ, in the file's order.
    """

    before_hash: str
    after_hash: str
    became_abnormal: tuple[str, ...]
    became_normal: tuple[str, ...]
    sections: tuple[SectionChange, ...]

    def __bool__(self) -> bool:
        return bool(self.became_abnormal or self.became_normal or self.sections)


def changes(before: PromptSet, after: PromptSet) -> PromptChanges:
    """Compare two prompt sets text by text, provenance included."""
    became_abnormal = _common(before.normal, after.abnormal)
    became_normal = _common(before.abnormal, after.normal)
    moved = {*became_abnormal, *became_normal}
    compared = (
        _section_change(section, was, became, moved if section in ("normal", "abnormal") else set())
        for (section, was), (_, became) in zip(_sections(before), _sections(after), strict=True)
    )
    return PromptChanges(
        before_hash=before.content_hash,
        after_hash=after.content_hash,
        became_abnormal=became_abnormal,
        became_normal=became_normal,
        sections=tuple(each for each in compared if each.removed or each.added or each.reordered),
    )


def _section_change(
    section: str, was: tuple[str, ...], became: tuple[str, ...], moved: set[str]
) -> SectionChange:
    return SectionChange(
        section=section,
        removed=tuple(text for text in was if text not in {*became, *moved}),
        added=tuple(text for text in became if text not in {*was, *moved}),
        reordered=_common(was, became) != _common(became, was),
    )


def _common(texts: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    known = set(others)
    return tuple(text for text in texts if text in known)


def _sections(prompt_set: PromptSet) -> list[tuple[str, tuple[str, ...]]]:
    """Everything in a prompt file, under the keys it has there."""
    provenance = prompt_set.provenance
    return [
        ("class", (prompt_set.class_name,)),
        ("domain", (prompt_set.domain,)),
        ("normal", prompt_set.normal),
        ("abnormal", prompt_set.abnormal),
        ("descriptors", prompt_set.descriptors),
        ("provenance.generator", (provenance.generator,)),
        ("provenance.model", (provenance.model,)),
        ("provenance.date", (provenance.date,)),
        ("provenance.queries", provenance.queries),
    ]
