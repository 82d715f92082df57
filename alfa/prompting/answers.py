"""From a language model's answer to prompts: lists, bullets, quotes, markdown and small talk taken off.

Nothing is trusted to be in the form that was asked for, and nothing is taken silently: what had to be
repaired, was dropped or came twice is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from alfa.prompting.promptset import LONGEST_PROMPT, same_text
from alfa.prompting.queries import Section, beginning


@dataclass(frozen=True, slots=True)
class Parsed:
    """Prompts out of answers.

    Attributes:
        prompts: in the order they came, all different.
        repaired: how many of them did not come in the form asked for.
        dropped: lines that could not be used.
        duplicates: prompts that had come before.
    """

    prompts: tuple[str, ...]
    repaired: int = 0
    dropped: int = 0
    duplicates: int = 0


def parse_side(texts: Iterable[str], section: Section, class_name: str) -> Parsed:
    """The prompts of one side, each beginning as the query asked.

    Args:
        texts: answers to this side's queries.
        section: the side.
        class_name: the class asked about.
    """
    sentences = _SideGrammar(section, class_name)
    return _collected(sentences.read(line) for text in texts for line in sentences.lines(text))


def parse_descriptors(texts: Iterable[str]) -> Parsed:
    """The descriptors of Sec. 5.4, one per "-" line.

    The query ends in "-", so the first line of an answer may continue it without a dash of its own. An
    answer without any list is read line by line.
    """
    return _collected(_descriptor(line) for text in texts for line in _list_of(text))


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    listed: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """What became of one line: `prompt` is None where it could not be used."""

    prompt: str | None
    repaired: bool = False


_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_LIST_MARK = re.compile(
    r"^(?:(?:[-\u2022\u2023\u25e6\u2013\u2014\u00b7]\s*|[*+]\s+|\(?\d{1,3}[.):](?!\d)\s*|\(?[a-z][.)]\s+)(?=\S))+",
    re.IGNORECASE,
)
_STRONG = re.compile(r"\*\*|__|`")
_EMPHASIS = re.compile(r"(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_QUOTES = "\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
_SMALL_TALK = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|absolutely|great|here (?:are|is)|below (?:are|is)|these are|"
    r"note|please|i hope|let me|as an ai|i'm sorry|sorry|answer|q:|a:)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_NEXT_ITEM = re.compile(r"\s+(?:[-*•]|\(?\d{1,3}[.)])\s*$")
_LONGEST_FIRST_DESCRIPTOR = 12


def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


class _SideGrammar:
    """How the sentences of one side look, and how those that nearly do are repaired."""

    def __init__(self, section: Section, class_name: str) -> None:
        self._beginning = beginning(section, class_name)
        words = r"\s+".join(re.escape(word) for word in class_name.split())
        thing = rf"(?:(?:an?|the)\s+)?{words}"
        picture = r"(?:image|photo|picture|photograph)"
        article = r"(?:(?:an?|the)\s+)?"
        other = Section.NORMAL if section is Section.ABNORMAL else Section.ABNORMAL
        self._asked_for = _pattern(rf"{article}{section}\s+{picture}\s+of\s+{thing}(?!\w)")
        self._turned_round = _pattern(
            rf"{article}(?:{picture}\s+of\s+{article})?{section}\s+{words}(?!\w)"
            rf"(?:\s+{picture}\b|\s+in\s+(?:an?|the)\s+{picture}\b)?"
        )
        # About the other label, or about another class.
        self._off_topic = _pattern(
            rf"{article}(?:{picture}\s+of\s+{article})?{other}\b"
            rf"|(?:an?|the)\s+{section}\b|{article}{section}\s+{picture}\b|{article}{picture}\s+of\b"
        )
        self._apart = _pattern(rf"(?<!\w)(?={article}(?:ab)?normal\s+{picture}\s+of\s)")

    def lines(self, text: str) -> Iterator[_Line]:
        """Lines of an answer; where several sentences stand in one line, each by itself."""
        for line in _lines(text):
            *others, last = self._sentences(line.text)
            pieces = [*(_NEXT_ITEM.sub("", piece) for piece in others), last]
            yield from (_Line(piece, line.listed) for piece in pieces if piece.strip())

    def read(self, line: _Line) -> _Reading:
        """One sentence as a prompt."""
        for pattern in (self._asked_for, self._turned_round):
            if match := pattern.match(line.text):
                return self._rest(line.text, match)
        if not line.listed or self._off_topic.match(line.text) or _SMALL_TALK.match(line.text):
            return _Reading(None)
        return self._prompt(f": {_uncapitalised(_first_sentence(line.text))}", repaired=True)

    def _sentences(self, text: str) -> list[str]:
        starts = [
            match.start() for match in self._apart.finditer(text) if _starts_sentence(text, match.start())
        ]
        borders = [0, *(start for start in starts if start), len(text)]
        return [text[start:end] for start, end in pairwise(borders)]

    def _rest(self, text: str, match: re.Match[str]) -> _Reading:
        rest = text[match.end() :]
        first = _first_sentence(rest)
        repaired = match.group() != self._beginning or len(first) < len(rest.rstrip())
        return self._prompt(first, repaired)

    def _prompt(self, rest: str, repaired: bool) -> _Reading:
        if not re.search(r"\w", rest):
            return _Reading(None)
        prompt = _finished(f"{self._beginning}{rest}")
        return _Reading(prompt if len(prompt) <= LONGEST_PROMPT else None, repaired)


def _collected(readings: Iterable[_Reading]) -> Parsed:
    prompts: dict[str, str] = {}
    repaired = dropped = duplicates = 0
    for reading in readings:
        if reading.prompt is None:
            dropped += 1
        elif same_text(reading.prompt) in prompts:
            duplicates += 1
        else:
            prompts[same_text(reading.prompt)] = reading.prompt
            repaired += reading.repaired
    return Parsed(tuple(prompts.values()), repaired, dropped, duplicates)


def _lines(text: str) -> Iterator[_Line]:
    """Lines without list marks, markdown and quotes; one that ends in a colon heads a list, is no item."""
    for raw in _THOUGHTS.sub("\n", text).splitlines():
        one_line = "".join(c for c in " ".join(raw.split()) if c.isprintable())
        if one_line.startswith("```"):
            continue
        marked = _STRONG.sub("", one_line.lstrip("#> ")).strip()
        unmarked = _LIST_MARK.sub("", marked)
        plain = _EMPHASIS.sub("", unmarked).strip().strip(_QUOTES).strip()
        if re.search(r"\w", plain):
            yield _Line(plain, listed=unmarked != marked and not plain.endswith(":"))


def _list_of(text: str) -> list[_Line]:
    lines = list(_lines(text))
    if not any(line.listed for line in lines):
        return [_Line(line.text, listed=True) for line in lines]
    first = lines[0]
    continues = not first.listed and len(first.text.split()) <= _LONGEST_FIRST_DESCRIPTOR
    return [_Line(first.text, listed=True), *lines[1:]] if continues else lines


def _descriptor(line: _Line) -> _Reading:
    if not line.listed or line.text.endswith((":", "!")) or _SMALL_TALK.match(line.text):
        return _Reading(None)
    descriptor = _finished(_first_sentence(line.text))
    return _Reading(descriptor if 0 < len(descriptor) <= LONGEST_PROMPT else None)


def _starts_sentence(text: str, start: int) -> bool:
    """At the line's start, after a sentence's end, or after the next item's mark; not inside a sentence."""
    before = text[:start].rstrip().rstrip(_QUOTES)
    return not before or before[-1] in ".!?;" or bool(_NEXT_ITEM.search(text[:start]))


def _first_sentence(text: str) -> str:
    """What follows explains; it is not seen on the image and fills the model's context."""
    return _SENTENCE_END.split(text.rstrip(), maxsplit=1)[0]


def _uncapitalised(item: str) -> str:
    return item[0].lower() + item[1:] if item[1:2].islower() else item


def _finished(prompt: str) -> str:
    return " ".join(prompt.split()).rstrip(" .;,")
