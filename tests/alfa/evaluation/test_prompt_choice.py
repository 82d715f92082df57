"""Which prompt file a class gets, of those shipped and of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from alfa.errors import BadInput
from alfa.evaluation.prompt_choice import choose_prompts


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory with prompt files of the user's own; only their names count here."""
    for name in ("plate", "metal_nut"):
        (tmp_path / f"{name}.toml").touch()
    return tmp_path


def _names(classes: list[str], given: list[str], own: Path) -> dict[str, str]:
    return {name: path.stem for name, path in choose_prompts(classes, given, own).items()}


@pytest.mark.parametrize(
    ("class_name", "file"),
    [
        ("plate", "plate"),
        ("metal nut", "metal_nut"),
        ("mvtec_bottle", "bottle"),
        ("left/metal_nut", "metal_nut"),
        ("bottle_toy", "generic"),
        ("aliens", "generic"),
    ],
)
def test_a_class_gets_the_file_of_its_name(own: Path, class_name: str, file: str) -> None:
    """Its own name, without what stands before it, else the generic file."""
    assert _names([class_name], [], own) == {class_name: file}


def test_a_users_own_file_hides_the_shipped_one(own: Path) -> None:
    """Both exist; the user's is taken."""
    assert choose_prompts(["metal_nut"], [], own)["metal_nut"].parent == own


def test_a_name_alone_is_for_all_classes(own: Path) -> None:
    """Even for one that has a file of its own."""
    assert _names(["bottle", "aliens"], ["plate"], own) == {"bottle": "plate", "aliens": "plate"}


def test_a_class_told_by_name_is_no_other_ones_business(own: Path) -> None:
    """The rest goes by name, or by what is said for all."""
    assert _names(["bottle", "aliens"], ["aliens=plate"], own) == {"bottle": "bottle", "aliens": "plate"}
    assert _names(["bottle", "aliens"], ["generic", "aliens=plate"], own) == {
        "bottle": "generic",
        "aliens": "plate",
    }


def test_a_path_is_taken_as_it_is(own: Path) -> None:
    """A file that lies elsewhere."""
    assert choose_prompts(["bottle"], [str(own / "plate.toml")], Path()) == {"bottle": own / "plate.toml"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["nut=plate"], "'nut': is no class of the data set; it has bottle"),
        (["plate", "generic"], "'generic': is a second file for all classes"),
        (["bottle=plte"], "did you mean plate"),
    ],
)
def test_what_fits_nothing_is_refused(own: Path, given: list[str], words: str) -> None:
    """One line naming it."""
    with pytest.raises(BadInput, match=words):
        choose_prompts(["bottle"], given, own)
