"""Prompt files: what is read back, what is refused and in which words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alfa.errors import BadInput
from alfa.prompting.promptset import (
    PromptSet,
    Provenance,
    available_classes,
    file_stem,
    find_prompt_file,
    load_prompt_set,
    same_text,
    save_prompt_set,
    sides,
)
from alfa.prompting.templates import template_prompts

NUT = PromptSet(
    class_name="metal nut",
    normal=("A normal image of a metal nut with four teeth", "A normal image of a metal nut, clean"),
    abnormal=("An abnormal image of a metal nut with a bent tooth",),
    descriptors=("a bent tooth",),
    provenance=Provenance("a person", "none", "2024-05-01", ("Q?\n-",)),
)

ONE_LINE = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"], include_characters=" "), min_size=1
)
PROMPT = ONE_LINE.filter(lambda text: bool(text.strip()) and text.isprintable())
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def prompt_sets(draw: st.DrawFn) -> PromptSet:
    prompts = draw(st.lists(PROMPT, min_size=2, max_size=8, unique_by=same_text))
    cut = draw(st.integers(1, len(prompts) - 1))
    return PromptSet(
        class_name=draw(PROMPT.map(lambda text: text[:60]).filter(str.strip)),
        domain=draw(PROMPT.map(lambda text: text[:60]).filter(str.strip)),
        normal=tuple(prompts[:cut]),
        abnormal=tuple(prompts[cut:]),
        descriptors=tuple(draw(st.lists(PROMPT, max_size=4, unique_by=same_text))),
        provenance=Provenance(
            draw(ANY_TEXT), draw(ANY_TEXT), draw(ANY_TEXT), tuple(draw(st.lists(ANY_TEXT)))
        ),
    )


@given(prompt_set=prompt_sets())
def test_what_was_saved_is_loaded(prompt_set: PromptSet, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Quotes, backslashes, control characters of the provenance and all alphabets survive the file."""
    path = tmp_path_factory.mktemp("round") / "trip.toml"
    save_prompt_set(prompt_set, path)
    assert load_prompt_set(path) == prompt_set


@pytest.mark.parametrize(
    "other",
    [
        replace(NUT, class_name="nut"),
        replace(NUT, domain="food"),
        replace(NUT, normal=NUT.normal[:1]),
        replace(NUT, normal=NUT.normal[::-1]),
        replace(NUT, abnormal=("An abnormal image of a metal nut",)),
        replace(NUT, descriptors=()),
    ],
)
def test_the_hash_changes_with_every_text_that_reaches_the_model(other: PromptSet) -> None:
    """Class and domain count too, through the template prompts."""
    assert other.content_hash != NUT.content_hash


def test_the_hash_does_not_change_with_the_provenance() -> None:
    """A corrected date must not make a calibration useless."""
    assert replace(NUT, provenance=Provenance()).content_hash == NUT.content_hash


def test_the_hash_is_the_same_on_every_machine() -> None:
    """Sixteen hex digits that are part of calibrations and verdicts: a change here invalidates them all."""
    assert NUT.content_hash == "def1a1aeb501f646"


def test_sides_are_the_templates_and_the_sets_own() -> None:
    """{T_CS, T_G} of Sec. 4.2, in this order."""
    normal, abnormal = sides(NUT)
    assert normal == [*template_prompts("metal nut")[0], *NUT.normal]
    assert abnormal == [*template_prompts("metal nut")[1], *NUT.abnormal]


VALID = 'schema = 1\nclass = "nut"\nnormal = ["good"]\nabnormal = ["bad"]\n'


def test_descriptors_domain_and_provenance_may_be_left_out(tmp_path: Path) -> None:
    """Four keys make a prompt file."""
    path = tmp_path / "nut.toml"
    path.write_text(VALID)
    assert load_prompt_set(path) == PromptSet("nut", ("good",), ("bad",))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "schema: is missing; write schema = 1"),
        (VALID.replace("schema = 1", "schema = 2"), "schema = 2: this release reads version 1"),
        (VALID.replace("schema = 1", 'schema = "1"'), "schema = '1': this release reads version 1"),
        (VALID.replace("schema = 1", "schema = true"), "schema = True: this release reads version 1"),
        (VALID + "colour = 1", "colour = 1: unknown key"),
        (VALID + '[provenance]\nauthor = "x"', "provenance.author = 'x': unknown key"),
        (VALID + "[provenance]\ndate = 2024-05-01", "provenance.date"),
        (VALID.replace('["good"]', '"good"'), "normal = 'good': input should be a valid list"),
        (VALID.replace('"good"', "7"), "normal.0 = 7: input should be a valid string"),
        (VALID.replace('"good"', ""), "normal = []: is empty; give at least 1"),
        (VALID.replace('abnormal = ["bad"]', ""), "abnormal: is missing"),
        (VALID.replace('class = "nut"', ""), "class: is missing"),
        (VALID.replace('"nut"', '" "'), "class = ' ': is blank"),
        (VALID.replace('"bad"', '"  "'), "abnormal.0 = ' ': is blank"),
        (VALID.replace("bad", "x" * 401), "at most 400 characters"),
        (VALID.replace("bad", r"two\nlines"), "abnormal.0 = 'two\\nlines': holds a line break"),
        (VALID.replace("bad", r"\u001b[31m"), "holds a line break or control character"),
        (VALID.replace('"good"', '"good", "Good. "'), "normal.1 = 'Good. ': is the same as normal.0"),
        (VALID.replace("bad", "good"), "abnormal.0 = 'good': is the same as normal.0"),
        (VALID + 'descriptors = ["a", "b", "a"]', "descriptors.2 = 'a': is the same as descriptors.0"),
        ("normal = [", "is not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    """File, key, value and what is wrong."""
    path = tmp_path / "nut.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        load_prompt_set(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert line in message
    assert "\n" not in message


def test_a_prompt_of_400_characters_is_the_longest(tmp_path: Path) -> None:
    """The limit itself is allowed."""
    path = tmp_path / "nut.toml"
    path.write_text(VALID.replace("bad", "x" * 400))
    assert load_prompt_set(path).abnormal == ("x" * 400,)


@pytest.mark.parametrize(("content", "line"), [(None, "no such file"), (b"\xff\xfe", "is not UTF-8")])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None, line: str) -> None:
    """Missing, or not UTF-8."""
    path = tmp_path / "nut.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=line):
        load_prompt_set(path)


def test_a_class_is_found_by_its_name_in_the_users_directory_first(tmp_path: Path) -> None:
    """`metal nut` and `metal_nut` mean the same file, and one's own hides the shipped one."""
    own = tmp_path / "metal_nut.toml"
    save_prompt_set(NUT, own)
    assert find_prompt_file("metal nut", tmp_path) == own
    assert find_prompt_file("metal_nut", tmp_path) == own
    assert find_prompt_file("Metal Nut") != own


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    """A path is never looked up as a class."""
    path = tmp_path / "metal_nut.toml"
    save_prompt_set(NUT, path)
    assert find_prompt_file(str(path), tmp_path / "elsewhere") == path
    with pytest.raises(BadInput, match="no such prompt file"):
        find_prompt_file(str(tmp_path / "bottle.toml"))


def test_an_unknown_class_says_which_there_are(tmp_path: Path) -> None:
    """With a guess where one is near."""
    save_prompt_set(NUT, tmp_path / "gearwheel.toml")
    with pytest.raises(BadInput) as refused:
        find_prompt_file("gear wheel", tmp_path)
    assert "did you mean gearwheel? available: " in str(refused.value)
    assert "bottle, " in str(refused.value)


@pytest.mark.parametrize(
    ("class_name", "stem"), [("Metal nut", "metal_nut"), ("PCB-1 ", "pcb_1"), ("../x", "x")]
)
def test_file_stem(class_name: str, stem: str) -> None:
    """A class name never leads out of the directory."""
    assert file_stem(class_name) == stem


MVTEC = (
    "bottle cable capsule carpet grid hazelnut leather metal_nut "
    "pill screw tile toothbrush transistor wood zipper"
)
VISA = "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"


@pytest.mark.parametrize("name", [*MVTEC.split(), *VISA.split(), "generic", "magnetic_tile"])
def test_shipped_prompts_are_complete(name: str) -> None:
    """Every class of both benchmarks has 24 or more prompts a side, 12 descriptors and its origin."""
    prompt_set = load_prompt_set(available_classes()[name])
    assert min(len(prompt_set.normal), len(prompt_set.abnormal)) >= 24
    assert len(prompt_set.descriptors) >= 12
    assert "Claude" in prompt_set.provenance.model


def test_shipped_prompts_all_differ_in_content() -> None:
    """No two classes share a file's content, not even the two macaroni."""
    hashes = [load_prompt_set(path).content_hash for path in available_classes().values()]
    assert len(set(hashes)) == len(hashes)
