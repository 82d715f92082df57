"""The unified template of Sec. 4.2."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alfa.prompting.templates import template_prompts, with_article

NAMES = st.text("abcdefghij klmnopqrstuvwxyz", min_size=1, max_size=20).filter(lambda name: name.strip())


@given(class_name=NAMES, domain=st.sampled_from(["industrial", "close-up", "High-Resolution", "food", "x"]))
def test_there_are_72_different_prompts_a_label(class_name: str, domain: str) -> None:
    """Whatever the class and domain, 72 + 72 prompts and no text twice."""
    normal, abnormal = template_prompts(class_name, domain)
    assert (len(normal), len(abnormal), len({*normal, *abnormal})) == (72, 72, 144)


@given(class_name=NAMES)
def test_every_prompt_has_the_papers_form(class_name: str) -> None:
    """A {domain} image of a {state} {class} [with {details}]."""
    form = re.compile(rf"An? [\w -]+ image of (an? )?\w+ {re.escape(class_name)}( with [a-z ]+)?")
    assert all(form.fullmatch(prompt) for side in template_prompts(class_name) for prompt in side)


def test_the_first_prompts_of_a_bottle() -> None:
    """Own domain first, plain state first; "a" and "an" as English wants them."""
    normal, abnormal = template_prompts("bottle", "industrial")
    assert normal[0] == "An industrial image of a normal bottle"
    assert abnormal[0] == "An industrial image of an abnormal bottle"
    assert abnormal[1] == "An industrial image of an abnormal bottle with a visible defect"


def test_the_classs_own_domain_is_used() -> None:
    """A quarter of the prompts is about the domain that the file names."""
    normal, _ = template_prompts("cashew", "food")
    assert sum(prompt.startswith("A food image of") for prompt in normal) == 18


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("bottle", "a bottle"),
        ("abnormal nut", "an abnormal nut"),
        ("Object", "an Object"),
        ("capsules", "capsules"),
        ("glass", "a glass"),
        ("lens", "a lens"),
        ("chassis", "a chassis"),
    ],
)
def test_article(noun: str, expected: str) -> None:
    """Plurals take none, singulars that end in s do."""
    assert with_article(noun) == expected
