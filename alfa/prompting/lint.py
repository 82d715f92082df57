"""What can be wrong with a prompt file that loads: the findings of `alfa-prompts check`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from alfa.prompting.promptset import PromptSet, keyed, same_text, sides
from alfa.prompting.queries import FEWEST_DESCRIPTORS, FEWEST_PER_SIDE, Section, beginning

# Share of common words from which two prompts say the same thing; 1 would be the same words.
_NEAR_DUPLICATE = 0.8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at.

    Attributes:
        kind: fixed name, such as `near-duplicate`.
        key: where in the file, such as `normal.3`.
        text: the prompt, or what there is.
        detail: why it is a finding, for a person.
    """

    kind: str
    key: str
    text: str
    detail: str


def lint(prompt_set: PromptSet) -> list[Finding]:
    """All findings that need no model."""
    return [
        *_missing(prompt_set),
        *_too_few(prompt_set),
        *_inconsistent(prompt_set),
        *_mixed_up(prompt_set),
        *_repeats_template(prompt_set),
        *_near_duplicates("normal", prompt_set.normal),
        *_near_duplicates("abnormal", prompt_set.abnormal),
        *_near_duplicates("descriptors", prompt_set.descriptors),
    ]


def over_long(prompt_set: PromptSet, token_counts: Iterable[int], context_length: int) -> list[Finding]:
    """Prompts that a model would have to cut.

    Args:
        prompt_set: the prompts.
        token_counts: of `every_text(prompt_set)`, start and end tokens included.
        context_length: most tokens that the model reads.
    """
    advice = "has {} tokens, the model reads {}; shorten it"
    return [
        Finding("over-long", key, text, advice.format(tokens, context_length))
        for (key, text), tokens in zip(_keyed_texts(prompt_set), token_counts, strict=True)
        if tokens > context_length
    ]


def every_text(prompt_set: PromptSet) -> list[str]:
    """All that the model will read: both sides with their template prompts, and the descriptors."""
    return [text for _, text in _keyed_texts(prompt_set)]


def _keyed_texts(prompt_set: PromptSet) -> list[tuple[str, str]]:
    normal, abnormal = sides(prompt_set)
    return [
        *_side_keys("normal", normal, len(prompt_set.normal)),
        *_side_keys("abnormal", abnormal, len(prompt_set.abnormal)),
        *keyed("descriptors", prompt_set.descriptors),
    ]


def _side_keys(side: str, prompts: list[str], own: int) -> Iterator[tuple[str, str]]:
    templates = len(prompts) - own
    yield from keyed(f"{side} template", prompts[:templates])
    yield from keyed(side, prompts[templates:])


def _missing(prompt_set: PromptSet) -> Iterator[Finding]:
    provenance = prompt_set.provenance
    if not prompt_set.descriptors:
        yield Finding("missing", "descriptors", "", "no descriptors: verdicts will give no reasons")
    for name in ("generator", "model", "date"):
        if not getattr(provenance, name):
            yield Finding("missing", f"provenance.{name}", "", "nobody will know where the prompts come from")
    if not provenance.queries:
        yield Finding("missing", "provenance.queries", "", "nobody will know what was asked")


def _too_few(prompt_set: PromptSet) -> Iterator[Finding]:
    sections = (
        ("normal", prompt_set.normal, FEWEST_PER_SIDE),
        ("abnormal", prompt_set.abnormal, FEWEST_PER_SIDE),
        ("descriptors", prompt_set.descriptors, FEWEST_DESCRIPTORS),
    )
    for section, prompts, fewest in sections:
        if 0 < len(prompts) < fewest:
            yield Finding("too-few", section, f"{len(prompts)}", f"have {fewest} or more")


def _inconsistent(prompt_set: PromptSet) -> Iterator[Finding]:
    """Syntactic consistency is worth 0.3 points of AUROC in Table 3."""
    for section, prompts in ((Section.NORMAL, prompt_set.normal), (Section.ABNORMAL, prompt_set.abnormal)):
        wanted = beginning(section, prompt_set.class_name)
        for key, prompt in keyed(section, prompts):
            if not prompt.startswith(wanted):
                yield Finding("beginning", key, prompt, f'let it begin with "{wanted}"')


# Words that are a defect on any product. Left out on purpose: bent, hole, cut, split, tear, spot, gap,
# rough and the like, which on some product are how a good part looks.
_DEFECT_WORDS = re.compile(
    r"\b(?:abnormal(?:ly|ity|ities)?|anomal(?:y|ies|ous)|defect(?:s|ive)?|damaged?|broken|breakage|"
    r"crack(?:s|ed|ing)?|fractur(?:e|es|ed)|scratch(?:es|ed)?|scuff(?:s|ed)?|dent(?:s|ed)?|chipped|torn|ripped|"
    r"stain(?:s|ed|ing)?|contaminat(?:ion|ed)|corro(?:sion|ded)|rust(?:y|ed)?|deformed|misshapen|missing|faulty|"
    r"flaw(?:s|ed)?|blemish(?:es|ed)?|burnt|scorched|mou?ldy|punctur(?:e|es|ed)|shattered)\b(?![- ]free\b)",
    re.IGNORECASE,
)
_GOOD_WORDS = re.compile(
    r"\b(?:a normal|normal image|flawless(?:ly)?|perfect(?:ly)?|undamaged|unblemished|pristine|spotless|"
    r"(?:defect|flaw|damage|blemish|scratch|crack)[- ]free)\b",
    re.IGNORECASE,
)
_ABSENCE_IN_ABNORMAL = re.compile(
    r"\b(?:no|without(?: any)?|free (?:of|from)(?: any)?) (?:visible )?"
    r"(?:defects?|damage|flaws?|anomal(?:y|ies)|blemish(?:es)?)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:no|not|nor|never|none|nothing|neither|without|free|lacks?|lacking|absence|absent|rather than|"
    r"instead of|no longer|unlike|than|otherwise)\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[;.]|\bbut\b|\bwhile\b|\balthough\b", re.IGNORECASE)


def _mixed_up(prompt_set: PromptSet) -> Iterator[Finding]:
    for key, prompt in keyed("normal", prompt_set.normal):
        if word := _said(prompt, _DEFECT_WORDS):
            yield Finding("side-mix-up", key, prompt, f'says "{word}" on the normal side')
    for key, prompt in keyed("abnormal", prompt_set.abnormal):
        absence = _ABSENCE_IN_ABNORMAL.search(prompt)
        if word := absence[0] if absence else _said(prompt, _GOOD_WORDS):
            yield Finding("side-mix-up", key, prompt, f'says "{word}" on the abnormal side')


def _said(prompt: str, words: re.Pattern[str]) -> str:
    """The first of `words` that the prompt asserts: in "with cracks", but not in "without any cracks"."""
    for clause in _CLAUSE_END.split(prompt):
        negated = _NEGATION.search(clause)
        word = words.search(clause)
        if word and not (negated and negated.start() < word.start()):
            return word[0]
    return ""


def _repeats_template(prompt_set: PromptSet) -> Iterator[Finding]:
    templates = {
        same_text(text)
        for key, text in _keyed_texts(prompt_set)
        if key.partition(".")[0].endswith("template")
    }
    for side, prompts in (("normal", prompt_set.normal), ("abnormal", prompt_set.abnormal)):
        for key, prompt in keyed(side, prompts):
            if same_text(prompt) in templates:
                yield Finding("duplicate", key, prompt, "is one of the 72 template prompts already")


def _near_duplicates(section: str, prompts: tuple[str, ...]) -> Iterator[Finding]:
    """Prompts of one section with nearly the same words; what all of them share does not count."""
    words = [frozenset(re.findall(r"\w+", prompt.casefold())) for prompt in prompts]
    common = frozenset.intersection(*words) if len(words) > 2 else frozenset()
    own = [each - common for each in words]
    for (first, a), (second, b) in combinations(enumerate(own), 2):
        if a | b and len(a & b) / len(a | b) >= _NEAR_DUPLICATE:
            detail = f"has nearly the same words as {section}.{first}"
            yield Finding("near-duplicate", f"{section}.{second}", prompts[second], detail)
