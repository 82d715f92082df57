"""From answers to a prompt set, and the count of what was lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alfa.prompting.answers import Parsed, parse_descriptors, parse_side
from alfa.prompting.promptset import PromptSet, Provenance
from alfa.prompting.queries import (
    FEWEST_DESCRIPTORS,
    FEWEST_PER_SIDE,
    MOST_DESCRIPTORS,
    MOST_PER_SIDE,
    Answer,
    Section,
)


@dataclass(frozen=True, slots=True)
class Harvest:
    """What the answers of one language model gave for one class, section by section."""

    normal: Parsed
    abnormal: Parsed
    descriptors: Parsed

    @property
    def shortage(self) -> str:
        """Which section has too few to be of use, as a sentence; empty when all are enough."""
        wanted = (
            (Section.NORMAL, self.normal, FEWEST_PER_SIDE),
            (Section.ABNORMAL, self.abnormal, FEWEST_PER_SIDE),
            (Section.DESCRIPTORS, self.descriptors, FEWEST_DESCRIPTORS),
        )
        short = [
            f"{section}: {len(parsed.prompts)} usable of {fewest} needed, "
            f"{parsed.dropped} dropped, {parsed.duplicates} duplicates"
            for section, parsed, fewest in wanted
            if len(parsed.prompts) < fewest
        ]
        return "; ".join(short)

    def prompt_set(self, class_name: str, domain: str, provenance: Provenance) -> PromptSet:
        """The prompt set of these answers, each section cut to the most that is of use."""
        return PromptSet(
            class_name=class_name,
            domain=domain,
            normal=self.normal.prompts[:MOST_PER_SIDE],
            abnormal=self.abnormal.prompts[:MOST_PER_SIDE],
            descriptors=self.descriptors.prompts[:MOST_DESCRIPTORS],
            provenance=provenance,
        )


def harvest(answers: Sequence[Answer], class_name: str) -> Harvest:
    """Parse all answers about one class."""
    texts = {section: [a.text for a in answers if a.query.section is section] for section in Section}
    return Harvest(
        normal=parse_side(texts[Section.NORMAL], Section.NORMAL, class_name),
        abnormal=parse_side(texts[Section.ABNORMAL], Section.ABNORMAL, class_name),
        descriptors=parse_descriptors(texts[Section.DESCRIPTORS]),
    )
