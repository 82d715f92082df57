"""Contrastive-state prompts T_CS from the paper's unified template (Sec. 4.2).

"A {domain} image of a {state} {class} [with {specific details}]": 4 domains x 6 states x 3 details make the
72 prompts per label that Table 3 counts as the manual ones. Both labels share the domains, so that only
state and details tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

Prompts = tuple[str, ...]

DEFAULT_DOMAIN = "industrial"
PROMPTS_PER_LABEL = 72

_DOMAINS_PER_LABEL = 4
# One more than needed: the class's own domain goes first and may be one of these.
_DOMAINS = ("manufacturing", "close-up", "high-resolution", "quality inspection")

_NORMAL_STATES = ("normal", "flawless", "perfect", "undamaged", "unblemished", "intact")
_NORMAL_DETAILS = ("", "no visible defect", "a clean and even appearance")

_ABNORMAL_STATES = ("abnormal", "defective", "damaged", "flawed", "blemished", "broken")
_ABNORMAL_DETAILS = ("", "a visible defect", "an unexpected mark or irregularity")

_VOWELS = tuple("aeiou")
_SINGULAR_ENDINGS = ("ss", "us", "is", "lens", "gas")


def template_prompts(class_name: str, domain: str = DEFAULT_DOMAIN) -> tuple[Prompts, Prompts]:
    """The template prompts t_cs+ and t_cs- of one class.

    Args:
        class_name: what is on the image, such as `metal nut`.
        domain: first of the four domains, such as `industrial`.

    Returns:
        72 normal and 72 abnormal prompts, all 144 different.
    """
    domains = _domains(domain)
    normal = tuple(_fill(class_name, domains, _NORMAL_STATES, _NORMAL_DETAILS))
    abnormal = tuple(_fill(class_name, domains, _ABNORMAL_STATES, _ABNORMAL_DETAILS))
    return normal, abnormal


def with_article(noun: str) -> str:
    """`noun` after "a" or "an"; a plural such as `capsules` takes none."""
    if _is_plural(noun):
        return noun
    return f"an {noun}" if noun.lower().startswith(_VOWELS) else f"a {noun}"


def _domains(own: str) -> Prompts:
    others = (domain for domain in _DOMAINS if domain != own.lower())
    return (own, *others)[:_DOMAINS_PER_LABEL]


def _fill(class_name: str, domains: Prompts, states: Prompts, details: Prompts) -> Iterator[str]:
    for domain, state, detail in product(domains, states, details):
        image = with_article(f"{domain} image")
        ending = f" with {detail}" if detail else ""
        yield f"{image[0].upper()}{image[1:]} of {with_article(f'{state} {class_name}')}{ending}"


def _is_plural(noun: str) -> bool:
    lowered = noun.lower()
    return lowered.endswith("s") and not lowered.endswith(_SINGULAR_ENDINGS)
