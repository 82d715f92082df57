"""What is said about images: a grammar of captions of good and defective parts, for prompts of both labels.

Broad on purpose: prompts at run time come from templates and from language models, about classes that no
training set shows. The class is therefore often replaced by a general or an unrelated noun, and good parts
are also described by the defects they do not have.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alfa.prompting.templates import template_prompts, with_article

_WORDS: dict[str, Any] = tomllib.loads(
    (Path(__file__).parent / "vocabulary.toml").read_text(encoding="utf-8")
)
DEFECTS: dict[str, list[str]] = _WORDS["defects"]

_STARTS = (
    "{article} image of {thing}",
    "a photo of {thing}",
    "a picture of {thing}",
    "{thing}",
    "a close-up photo of {thing}",
    "an inspection image of {thing}",
    "there is {thing} in the image",
    "a cropped photo of {thing}",
)
_PLACED = 0.85
_GENERAL = 0.5

Caption = Callable[[random.Random, str], str]


def normal_caption(rng: random.Random, noun: str) -> str:
    """One sentence about a good `noun`."""
    return rng.choice(_NORMAL_FORMS)(rng, noun)


def abnormal_caption(rng: random.Random, noun: str) -> str:
    """One sentence about a defective `noun`."""
    return rng.choice(_ABNORMAL_FORMS)(rng, noun)


def defect_caption(rng: random.Random, noun: str, kinds: tuple[str, ...]) -> str:
    """One sentence, or a bare descriptor, that names a defect of one of `kinds`."""
    defect = _placed(rng, rng.choice(DEFECTS[rng.choice(kinds)]))
    form = rng.randrange(4)
    if form == 0:
        return defect
    if form == 1:
        return f"{defect} on {with_article(noun)}"
    if form == 2:
        return f"{_start(rng, with_article(noun))} with {defect}"
    return f"An abnormal image of {with_article(noun)} {rng.choice(_WORDS['shows'])} {defect}"


def class_caption(rng: random.Random, noun: str) -> str:
    """One sentence that says what is on the image and nothing about its condition."""
    return rng.choice(
        (
            f"a photo of {with_article(noun)}",
            f"An image of {with_article(noun)}",
            noun,
            f"{with_article(noun)} on a production line",
            f"a close-up of {with_article(noun)}",
        )
    )


def kinds_named(text: str) -> list[str]:
    """The kinds of defect whose words stand in a caption."""
    return [kind for kind, words in DEFECTS.items() if any(word in text for word in words)]


def random_noun(rng: random.Random) -> str:
    """A general or an unrelated class word: what the method says must not hang on knowing the class."""
    noun: str = rng.choice(_WORDS["general_nouns" if rng.random() < _GENERAL else "unrelated_nouns"])
    return noun


def held_out_captions(noun: str) -> tuple[list[str], list[str]]:
    """Normal and abnormal sentences in words that training never sees."""
    normal = [f"A normal picture: {with_article(noun)} {phrase}" for phrase in _WORDS["held_out_good"]]
    abnormal = [f"On {with_article(noun)} one notices {phrase}" for phrase in _WORDS["held_out_defects"]]
    return normal, abnormal


def _template(side: int) -> Caption:
    def caption(rng: random.Random, noun: str) -> str:
        return rng.choice(template_prompts(noun, rng.choice(_WORDS["domains"]))[side])

    return caption


def _short(states: str) -> Caption:
    def caption(rng: random.Random, noun: str) -> str:
        state: str = rng.choice(_WORDS[states])
        return _start(rng, with_article(f"{state} {noun}"))

    return caption


def _normal_sentence(rng: random.Random, noun: str) -> str:
    thing = _filled(rng, "normal_things")
    return f"A normal image of {with_article(noun)} {rng.choice(_WORDS['shows'])} {thing}"


def _normal_fact(rng: random.Random, noun: str) -> str:
    fact = _filled(rng, "normal_facts")
    return rng.choice(
        (
            f"A normal image of {with_article(noun)}: {fact}",
            f"A normal image of {with_article(noun)} shows that {fact}",
            f"{fact} on this {noun}",
            f"In a normal image of {with_article(noun)} {fact}",
        )
    )


def _normal_thing(rng: random.Random, noun: str) -> str:
    thing = _filled(rng, "normal_things")
    return rng.choice(
        (f"{_start(rng, with_article(noun))} with {thing}", f"{with_article(noun)} with {thing}", thing)
    )


def _abnormal_sentence(rng: random.Random, noun: str) -> str:
    return f"An abnormal image of {with_article(noun)} {rng.choice(_WORDS['shows'])} {_defects(rng)}"


def _abnormal_fact(rng: random.Random, noun: str) -> str:
    fact = _filled(rng, "abnormal_facts")
    return rng.choice(
        (
            f"An abnormal image of {with_article(noun)}: {fact}",
            f"An abnormal image of {with_article(noun)} shows that {fact}",
            f"{fact} on this {noun}",
            f"In an abnormal image of {with_article(noun)} {fact}",
        )
    )


def _abnormal_thing(rng: random.Random, noun: str) -> str:
    return rng.choice(
        (
            f"{_start(rng, with_article(noun))} with {_defects(rng)}",
            f"{with_article(noun)} with {_defects(rng)}",
            f"{_defects(rng)} on {with_article(noun)}",
            _defects(rng),
        )
    )


def _without_fault(rng: random.Random, noun: str) -> str:
    """Negation decides: the same words stand on the other side with "with" in its place."""
    fault = rng.choice((rng.choice(_WORDS["faults"]), _bare(rng)))
    said = rng.choice(("without", "free of", "with no", "without any", "showing no", "that has no"))
    return rng.choice((_start(rng, with_article(noun)), noun)) + f" {said} {fault}"


def _with_fault(rng: random.Random, noun: str) -> str:
    fault = rng.choice((rng.choice(_WORDS["faults"]), _bare(rng)))
    said = rng.choice(("with", "with a", "with some", "showing", "that has", "full of"))
    return rng.choice((_start(rng, with_article(noun)), noun)) + f" {said} {fault}"


_NORMAL_FORMS: tuple[Caption, ...] = (
    _template(0),
    _template(0),
    _short("normal_states"),
    _normal_sentence,
    _normal_sentence,
    _normal_fact,
    _normal_thing,
    _without_fault,
)
_ABNORMAL_FORMS: tuple[Caption, ...] = (
    _template(1),
    _template(1),
    _short("abnormal_states"),
    _abnormal_sentence,
    _abnormal_sentence,
    _abnormal_fact,
    _abnormal_thing,
    _with_fault,
)


def _filled(rng: random.Random, patterns: str) -> str:
    """One of the vocabulary's patterns with words in its gaps."""
    pattern: str = rng.choice(_WORDS[patterns])
    return pattern.format(part=rng.choice(_WORDS["parts"]), bare=_bare(rng), bare2=_bare(rng))


def _start(rng: random.Random, thing: str) -> str:
    article = with_article(rng.choice(_WORDS["domains"]))
    return rng.choice(_STARTS).format(article=article, thing=thing)


def _any_defect(rng: random.Random) -> str:
    return rng.choice(DEFECTS[rng.choice(tuple(DEFECTS))])


def _bare(rng: random.Random) -> str:
    """A defect without its article, as it follows "no" and "without"."""
    return _any_defect(rng).removeprefix("a ").removeprefix("an ")


def _placed(rng: random.Random, defect: str) -> str:
    return f"{defect} {rng.choice(_WORDS['places'])}" if rng.random() < _PLACED else defect


def _defects(rng: random.Random) -> str:
    first = _placed(rng, _any_defect(rng))
    return first if rng.random() < 0.7 else f"{first} and {_any_defect(rng)}"
