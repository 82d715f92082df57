"""What differs between two prompt sets: every text is told once, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from alfa.prompting.changes import changes
from alfa.prompting.promptset import PromptSet, Provenance

TEXTS = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=8, unique=True)


@st.composite
def prompt_sets(draw: st.DrawFn) -> PromptSet:
    """Sets of few texts, so that two of them have some in common."""
    texts = draw(TEXTS)
    cut = draw(st.integers(1, len(texts) - 1))
    return PromptSet(
        class_name="nut",
        normal=tuple(texts[:cut]),
        abnormal=tuple(texts[cut:]),
        descriptors=tuple(draw(TEXTS)),
        provenance=Provenance(model=draw(st.sampled_from(["", "x"]))),
    )


@given(prompt_sets(), prompt_sets())
def test_nothing_differs_only_between_equal_sets(before: PromptSet, after: PromptSet) -> None:
    """Another order counts: it is another hash."""
    assert bool(changes(before, after)) == (before != after)
    assert not changes(before, before)


@given(prompt_sets(), prompt_sets())
def test_the_changes_lead_from_one_set_to_the_other(before: PromptSet, after: PromptSet) -> None:
    """Take away what is removed or moved, add what is added or moved: each text is told exactly once."""
    found = changes(before, after)
    of = {each.section: each for each in found.sections}
    for side, came, went in (
        ("normal", found.became_normal, found.became_abnormal),
        ("abnormal", found.became_abnormal, found.became_normal),
    ):
        texts = Counter(getattr(before, side))
        texts.subtract(went)
        texts.update(came)
        if side in of:
            texts.subtract(of[side].removed)
            texts.update(of[side].added)
        assert +texts == Counter(getattr(after, side))
        assert min(texts.values()) >= 0


def test_a_prompt_that_changes_side_is_neither_added_nor_removed() -> None:
    """The mix-up that matters most is told by itself."""
    before = PromptSet("nut", ("clean", "a scratch"), ("a dent",))
    found = changes(before, replace(before, normal=("clean",), abnormal=("a dent", "a scratch")))
    assert (found.became_abnormal, found.became_normal, found.sections) == (("a scratch",), (), ())


def test_another_order_is_told() -> None:
    """The hash is another, though every text is still there."""
    before = PromptSet("nut", ("clean", "even"), ("a dent",))
    (section,) = changes(before, replace(before, normal=("even", "clean"))).sections
    assert (section.section, section.removed, section.added, section.reordered) == ("normal", (), (), True)
