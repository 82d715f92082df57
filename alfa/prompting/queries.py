"""What a language model is asked about a class: the paper's queries (Sec. 4.2, 5.3 and 5.4).

Each side is asked several times in different words, so that T_G reaches the paper's 16 to 144 prompts a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from alfa.prompting.templates import with_article

# Table 3 counts 88 to 216 prompts a label, 72 of them templates.
FEWEST_PER_SIDE = 16
MOST_PER_SIDE = 144
# As many as an explanation shows (Figure 6).
FEWEST_DESCRIPTORS = 5
MOST_DESCRIPTORS = 40

_ASKED_PER_QUERY = 12

_QUESTIONS = (
    "How to identify {state} {class_name} in an image?",
    "How would you describe {state} {class_name} as seen in an image?",
    "Part by part, what can be seen in an image of {state} {class_name}?",
    "Which colours, shapes, edges and surfaces does an image of {state} {class_name} show?",
)

# Sec. 5.4, as printed.
_DESCRIPTOR_QUERY = (
    "Q: What are useful descriptions for distinguishing an anomaly {class_name} in a photo?\n"
    "A: There are several key descriptions to tell there is an anomaly {class_name} in a photo:\n"
    "-"
)


class Section(StrEnum):
    """What an answer is for: one of the three lists of a prompt file."""

    NORMAL = "normal"
    ABNORMAL = "abnormal"
    DESCRIPTORS = "descriptors"


@dataclass(frozen=True, slots=True)
class Query:
    """One question to a language model."""

    section: Section
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and what the language model said, as it said it."""

    query: Query
    text: str


def queries_for(class_name: str) -> tuple[Query, ...]:
    """All queries of one class: four a side, then the one for descriptors."""
    sides = (
        Query(section, f"{_question(question, section, class_name)}\n{_request(section, class_name)}")
        for section in (Section.NORMAL, Section.ABNORMAL)
        for question in _QUESTIONS
    )
    return (*sides, Query(Section.DESCRIPTORS, _DESCRIPTOR_QUERY.format(class_name=class_name)))


def beginning(section: Section, class_name: str) -> str:
    """How every prompt of a side begins (syntactic consistency, Sec. 5.3)."""
    return f"{with_article(f'{section} image').capitalize()} of {with_article(class_name)}"


def _question(question: str, section: Section, class_name: str) -> str:
    state = with_article(f"{section} {class_name}").removesuffix(f" {class_name}")
    return question.format(state=state, class_name=class_name)


def _request(section: Section, class_name: str) -> str:
    """Without a number and a length, models write essays: these lines make prompts of their answers."""
    return (
        f"State the description beginning with: {beginning(section, class_name)}\n"
        f"Give {_ASKED_PER_QUERY} different descriptions of what can be seen, one sentence of at most "
        "25 words each, one a line, and nothing else."
    )
