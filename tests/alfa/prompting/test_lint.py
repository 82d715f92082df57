"""What `alfa-prompts check` finds, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alfa.prompting.lint import every_text, lint, over_long
from alfa.prompting.promptset import PromptSet, Provenance, available_classes, load_prompt_set

_WORDS = (
    "red",
    "blue",
    "black",
    "grey",
    "long",
    "short",
    "round",
    "flat",
    "wide",
    "thin",
    "dry",
    "wet",
    "old",
    "new",
    "big",
    "fine",
)

CLEAN = PromptSet(
    class_name="nut",
    normal=tuple(f"A normal image of a nut with {word} teeth" for word in _WORDS),
    abnormal=tuple(f"An abnormal image of a nut with {word} rust" for word in _WORDS),
    descriptors=("rust", "dent", "burr", "crack", "chip"),
    provenance=Provenance("a person", "none", "2024-05-01", ("Q?",)),
)


def _kinds(prompt_set: PromptSet) -> list[tuple[str, str]]:
    return [(finding.kind, finding.key) for finding in lint(prompt_set)]


def _with_normal(prompt: str) -> PromptSet:
    return replace(CLEAN, normal=(*CLEAN.normal, prompt))


def _with_abnormal(prompt: str) -> PromptSet:
    return replace(CLEAN, abnormal=(*CLEAN.abnormal, prompt))


def test_a_good_file_is_clean() -> None:
    """No finding where there is nothing to find."""
    assert lint(CLEAN) == []


@pytest.mark.parametrize("name", sorted(available_classes()))
def test_shipped_files_are_clean(name: str) -> None:
    """The linter holds for what is shipped."""
    assert lint(load_prompt_set(available_classes()[name])) == []


@pytest.mark.parametrize(
    ("prompt_set", "finding"),
    [
        (replace(CLEAN, descriptors=()), ("missing", "descriptors")),
        (replace(CLEAN, descriptors=("rust",)), ("too-few", "descriptors")),
        (replace(CLEAN, normal=CLEAN.normal[:15]), ("too-few", "normal")),
        (replace(CLEAN, abnormal=CLEAN.abnormal[:15]), ("too-few", "abnormal")),
        (replace(CLEAN, provenance=replace(CLEAN.provenance, model="")), ("missing", "provenance.model")),
        (replace(CLEAN, provenance=replace(CLEAN.provenance, queries=())), ("missing", "provenance.queries")),
        (_with_normal("A nut with shiny teeth"), ("beginning", "normal.16")),
        (_with_normal("A normal image of a nut with teeth, red"), ("near-duplicate", "normal.16")),
    ],
)
def test_one_finding_each(prompt_set: PromptSet, finding: tuple[str, str]) -> None:
    """Missing, too few, another beginning, nearly the same words."""
    assert _kinds(prompt_set) == [finding]


@pytest.mark.parametrize(
    "ending",
    [
        "with cracks",
        "that is scratched",
        "without rust but with a dent",
        "with a missing tooth",
        "with no hole; stained",
    ],
)
def test_a_defect_on_the_normal_side_is_found(ending: str) -> None:
    """Asserted, not denied."""
    assert ("side-mix-up", "normal.16") in _kinds(_with_normal(f"A normal image of a nut {ending}"))


@pytest.mark.parametrize(
    "ending",
    [
        "without any cracks, dents or scratches",
        "free of rust",
        "that is scratch-free",
        "that is undamaged and unbroken",
        "of stainless steel",
        "not broken",
        "with a hole and split ring",
    ],
)
def test_a_denied_defect_on_the_normal_side_is_left_alone(ending: str) -> None:
    """So are words that contain a defect word, or are how some good part looks."""
    assert _kinds(_with_normal(f"A normal image of a nut {ending}")) == []


@pytest.mark.parametrize(
    "ending", ["that is flawless", "without any defects", "with no damage", "in pristine shape"]
)
def test_praise_on_the_abnormal_side_is_found(ending: str) -> None:
    """Also said as the absence of defects."""
    assert ("side-mix-up", "abnormal.16") in _kinds(_with_abnormal(f"An abnormal image of a nut {ending}"))


@pytest.mark.parametrize(
    "ending",
    [
        "that is not perfectly round",
        "bigger than a normal nut",
        "where the normal pattern ends",
        "without a hole",
    ],
)
def test_a_comparison_on_the_abnormal_side_is_left_alone(ending: str) -> None:
    """Defects are told by what is no longer so."""
    assert _kinds(_with_abnormal(f"An abnormal image of a nut {ending}")) == []


def test_a_template_prompt_in_the_file_is_a_duplicate() -> None:
    """It would weigh double."""
    kinds = _kinds(_with_normal("An industrial image of a normal nut"))
    assert ("duplicate", "normal.16") in kinds


def test_length_is_compared_with_the_models_context() -> None:
    """The limit itself is allowed; templates are counted too and named as such."""
    texts = every_text(CLEAN)
    counts = [10] * len(texts)
    assert over_long(CLEAN, counts, context_length=10) == []
    counts[0] = counts[72 + 3] = counts[-1] = 11
    found = over_long(CLEAN, counts, context_length=10)
    assert [finding.key for finding in found] == ["normal template.0", "normal.3", "descriptors.4"]
    assert found[1].text == CLEAN.normal[3]
    assert found[1].detail == "has 11 tokens, the model reads 10; shorten it"
