"""A language model's answer, in whatever form, becomes prompts of one form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alfa.prompting.answers import parse_descriptors, parse_side
from alfa.prompting.generation import harvest
from alfa.prompting.promptset import LONGEST_PROMPT, Provenance, load_prompt_set, same_text, save_prompt_set
from alfa.prompting.queries import Answer, Query, Section, beginning

WANTED = "An abnormal image of a metal nut"


def _prompts(text: str, section: Section = Section.ABNORMAL) -> tuple[str, ...]:
    return parse_side([text], section, "metal nut").prompts


@pytest.mark.parametrize(
    "line",
    [
        f"{WANTED} with rust",
        f"{WANTED} with rust.",
        f"1. {WANTED} with rust.",
        f"12) {WANTED} with rust.",
        f"(3) {WANTED} with rust",
        f"- {WANTED} with rust",
        f"* {WANTED} with rust",
        f"• {WANTED} with rust",
        f'"{WANTED} with rust."',
        f"2. \u201c{WANTED} with rust.\u201d",
        f"**4.** {WANTED} with **rust**.",
        f"- *{WANTED} with rust*",
        f"### {WANTED} with rust",
        f"  >  {WANTED}   with\trust",
        f"- 1. `{WANTED} with rust`",
    ],
)
def test_marks_quotes_and_markdown_are_taken_off(line: str) -> None:
    """What was asked for, dressed up, needs no repair."""
    parsed = parse_side([line], Section.ABNORMAL, "metal nut")
    assert parsed.prompts == (f"{WANTED} with rust",)
    assert (parsed.repaired, parsed.dropped) == (0, 0)


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("An abnormal image of metal nut with rust", f"{WANTED} with rust"),
        ("abnormal image of the metal nut showing rust", f"{WANTED} showing rust"),
        ("An abnormal photo of a metal nut with rust", f"{WANTED} with rust"),
        ("An abnormal metal nut in an image may show rust", f"{WANTED} may show rust"),
        ("An image of an abnormal metal nut shows rust", f"{WANTED} shows rust"),
        ("- Rust around the hole", f"{WANTED}: rust around the hole"),
        ("1. Abnormal colour of the teeth", f"{WANTED}: abnormal colour of the teeth"),
        (f"{WANTED} with rust. Rust weakens the part.", f"{WANTED} with rust"),
    ],
)
def test_what_nearly_fits_is_repaired_and_counted(line: str, prompt: str) -> None:
    """Another article, another order, a bare list item, an explanation after the description."""
    parsed = parse_side([line], Section.ABNORMAL, "metal nut")
    assert parsed.prompts == (prompt,)
    assert parsed.repaired == 1


@pytest.mark.parametrize(
    "line",
    [
        "Sure! Here are 12 descriptions of an abnormal metal nut:",
        "I hope this helps.",
        "**Rust:**",
        f"{WANTED}.",
        "An abnormal image of a bottle with a crack",
        "- An abnormal image of a bottle with a crack",
        "- An abnormal bottle with a crack",
        "- A normal image of a metal nut with four teeth",
        "A normal image of a metal nut with four teeth",
        "- Note: rust may be hard to see",
        f"{WANTED} with {'rust and ' * 60}",
    ],
)
def test_what_does_not_fit_is_dropped_and_counted(line: str) -> None:
    """Small talk, headings, the other label, another class, nothing said, too long."""
    parsed = parse_side([line], Section.ABNORMAL, "metal nut")
    assert parsed.prompts == ()
    assert parsed.dropped == 1


def test_several_sentences_in_one_line_are_several_prompts() -> None:
    """Some models ignore line breaks, some number within the line."""
    text = f"1. {WANTED} with rust. 2. {WANTED} with a dent. {WANTED} with oil"
    assert _prompts(text) == (f"{WANTED} with rust", f"{WANTED} with a dent", f"{WANTED} with oil")


def test_a_number_at_a_sentences_end_stays() -> None:
    """Only between two sentences of one line is it the next item's."""
    assert _prompts(f"1. {WANTED} with rust on tooth 3.") == (f"{WANTED} with rust on tooth 3",)


def test_thoughts_are_no_answer() -> None:
    """Reasoning models think aloud, sometimes without an end."""
    assert _prompts(f"<think>{WANTED} with x\n</think>\n{WANTED} with rust\n<think>\n{WANTED} with y") == (
        f"{WANTED} with rust",
    )


def test_duplicates_are_dropped_and_counted() -> None:
    """Also across answers, and when only case and stop differ."""
    parsed = parse_side([f"{WANTED} with rust", f"{WANTED} with Rust."], Section.ABNORMAL, "metal nut")
    assert parsed.prompts == (f"{WANTED} with rust",)
    assert parsed.duplicates == 1


def test_the_normal_side_has_its_own_beginning() -> None:
    """The same sentence is a prompt on one side only."""
    assert _prompts("A normal image of a metal nut with four teeth", Section.NORMAL)
    assert not _prompts(f"{WANTED} with rust", Section.NORMAL)


@pytest.mark.parametrize(
    ("text", "descriptors"),
    [
        ("- rust\n- a bent tooth.\n", ("rust", "a bent tooth")),
        (" rust\n- a bent tooth", ("rust", "a bent tooth")),
        (
            "Sure, here are some:\n\n1. **Rust**: brown spots. They grow.\n2. Dents\n",
            ("Rust: brown spots", "Dents"),
        ),
        ("rust\na bent tooth", ("rust", "a bent tooth")),
        ("- 3.5 mm holes\n- 3.5 mm holes", ("3.5 mm holes",)),
        ("-rust\n-dents\n\nI hope this helps!", ("rust", "dents")),
        ("", ()),
    ],
)
def test_descriptors_are_one_a_dash(text: str, descriptors: tuple[str, ...]) -> None:
    """The first line may continue the dash that the query of Sec. 5.4 ends in."""
    assert parse_descriptors([text]).prompts == descriptors


FRAGMENTS = st.sampled_from(
    [
        "An abnormal image of a metal nut",
        "a normal image of metal nut ",
        "an abnormal metal nut in an image",
        "\n",
        "\n- ",
        "\n1. ",
        "**",
        "```",
        "<think>",
        "</think>",
        '"',
        ". ",
        ":",
        "\u200b",
        "\x00",
        "\x1b[31m",
        "\u2028",
        "x" * 390,
    ]
)
ANY_ANSWER = st.lists(FRAGMENTS | st.text(), max_size=30).map("".join)


@given(text=ANY_ANSWER, section=st.sampled_from([Section.NORMAL, Section.ABNORMAL]))
def test_any_text_gives_prompts_of_the_right_form(text: str, section: Section) -> None:
    """Nothing crashes the parser, and nothing it returns breaks a prompt file."""
    prompts = parse_side([text], section, "metal nut").prompts
    wanted = beginning(section, "metal nut")
    assert all(prompt.startswith(wanted) and len(prompt) > len(wanted) for prompt in prompts)
    assert all(prompt.isprintable() and len(prompt) <= LONGEST_PROMPT for prompt in prompts)
    assert len({same_text(prompt) for prompt in prompts}) == len(prompts)


@given(texts=st.lists(ANY_ANSWER, max_size=4))
def test_whatever_was_harvested_can_be_saved_and_loaded(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Given that both sides have a prompt at all."""
    sure = [
        Answer(Query(Section.NORMAL, "q"), "A normal image of a metal nut with four teeth"),
        Answer(Query(Section.ABNORMAL, "q"), f"{WANTED} with rust"),
    ]
    said = [Answer(Query(section, "q"), text) for section in Section for text in texts]
    prompt_set = harvest([*sure, *said], "metal nut").prompt_set("metal nut", "industrial", Provenance())
    path = tmp_path_factory.mktemp("harvest") / "nut.toml"
    save_prompt_set(prompt_set, path)
    assert load_prompt_set(path) == prompt_set


def test_a_side_is_cut_to_the_papers_most() -> None:
    """144 a side and 40 descriptors, the first ones."""
    lines = "\n".join(f"- {WANTED} with defect {number}" for number in range(200))
    descriptors = "\n".join(f"- defect {number}" for number in range(60))
    answers = [
        Answer(Query(Section.ABNORMAL, "q"), lines),
        Answer(Query(Section.DESCRIPTORS, "q"), descriptors),
    ]
    prompt_set = harvest(answers, "metal nut").prompt_set("metal nut", "industrial", Provenance())
    assert (len(prompt_set.abnormal), len(prompt_set.descriptors)) == (144, 40)
    assert prompt_set.abnormal[-1].endswith("defect 143")


def test_a_shortage_names_every_section_that_is_short() -> None:
    """With how many there are and how many are needed."""
    lines = "\n".join(f"- {WANTED} with defect {number}" for number in range(16))
    harvested = harvest([Answer(Query(Section.ABNORMAL, "q"), lines)], "metal nut")
    assert harvested.shortage == (
        "normal: 0 usable of 16 needed, 0 dropped, 0 duplicates; "
        "descriptors: 0 usable of 5 needed, 0 dropped, 0 duplicates"
    )
